"""The words that the tagger knows: what COCO's categories are also called, people, places in an image, compounds.

Lists of English, in the singular unless they say otherwise. Knows nothing of how they are used (`mentions`, `resolve`).
"""

from __future__ import annotations

from neuraltuning.mmud.words import word_set


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


_CLASSES = """
    bicycle, bike, cycle | mountain bike
    car, automobile | sedan, suv, taxi, cab, hatchback, minivan
    motorcycle, motorbike, motor bike | scooter, moped
    airplane, plane, aeroplane, aircraft | jet, airliner, jetliner, airbus
    bus | coach, minibus
    train | locomotive, tram, subway
    truck, lorry | pickup, van
    boat, vessel | ship, sailboat, canoe, kayak, yacht, ferry, rowboat, raft, speedboat
    traffic light, stoplight, traffic signal, stop light
    fire hydrant, hydrant
    bird | seagull, gull, pigeon, duck, goose, parrot, owl, crow, swan, sparrow, eagle, rooster, hen, chicken
    cat, kitty | kitten
    dog, doggy | puppy, pup, hound, labrador, retriever, poodle, terrier, bulldog, german shepherd, corgi
    horse | pony, foal, mare, stallion
    sheep | lamb, ewe, ram
    cow, cattle | bull, calf, ox, steer
    elephant | calf
    bear | polar bear, grizzly, cub
    giraffe | calf
    zebra | foal
    backpack, rucksack, knapsack
    umbrella, parasol
    handbag, purse, hand bag
    tie, necktie | bow tie
    suitcase, luggage, baggage
    frisbee, disc, disk
    skis, ski, pair of skis
    sports ball, ball | soccer ball, football, baseball, basketball, volleyball, tennis ball
    baseball glove, glove, mitt
    tennis racket, racket, racquet, tennis racquet
    wine glass, goblet
    cup | mug, teacup, coffee cup, coffee mug
    sandwich | burger, hamburger
    orange | tangerine
    hot dog, hotdog
    donut, doughnut
    couch, sofa, settee | loveseat
    chair | armchair, stool
    potted plant, plant, houseplant, pot plant
    dining table, table
    tv, television, tv set, television set | monitor
    laptop, laptop computer, notebook computer
    mouse, computer mouse
    remote, remote control, remote controller
    cell phone, phone, cellphone, smartphone, mobile phone, mobile, telephone | iphone
    microwave, microwave oven
    oven, stove, cooker
    sink, washbasin, basin
    refrigerator, fridge
    clock | wall clock
    teddy bear, stuffed animal, stuffed bear, teddy, stuffed toy, plush toy
    hair drier, hair dryer, hairdryer, blow dryer
    toothbrush, tooth brush
    gift, present
"""
SYNONYMS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = tuple(
    (_names(line.partition("|")[0]), _names(line.partition("|")[2])) for line in _CLASSES.strip().splitlines()
)
"""For each class its names, and the names of kinds of it: a seagull is a bird, and no duck."""

LOOSE_NAMES = {
    "bike": _names("motorcycle"),
    "glass": _names("cup, wine glass"),
    "bag": _names("backpack, handbag, suitcase"),
    "board": _names("skateboard, snowboard, surfboard"),
    "computer": _names("laptop"),
    "animal": _names("bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe"),
    "creature": _names("bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe"),
    "pet": _names("cat, dog"),
    "feline": _names("cat"),
    "canine": _names("dog"),
    "vehicle": _names("bicycle, car, motorcycle, airplane, bus, train, truck, boat"),
    "fruit": _names("banana, apple, orange"),
    "vegetable": _names("broccoli, carrot"),
    "appliance": _names("microwave, oven, toaster, refrigerator"),
}
"""Name -> the categories that it may mean, where no object has the name as its own."""

GROUP_NAMES = word_set(
    "animal vehicle fruit vegetable appliance furniture building plant tool instrument toy bird insect"
)
"""Supercategories that also stand in texts for their members ("kitchen" and "sports" don't)."""

FOODS = word_set("banana apple sandwich orange broccoli carrot pizza donut cake")
"""Categories of which one annotation may show several: "the bananas"."""

UNLIKE_HEADS = frozenset(
    _names("hot dog, traffic light, traffic signal, stuffed animal, stuffed toy, plush toy, pair of skis, tooth brush")
)
"""Names that are not called by their last word alone."""

FIXED = frozenset(
    _names(
        "hot dog, teddy bear, stuffed animal, stuffed bear, street light, sea lion, sea horse, guinea pig, rocking "
        "horse, rubber duck, koala bear, bear in mind, ice cream, bean bag, sleeping bag, punching bag, tea bag, "
        "banana split, table tennis, light bulb, light blue, light green, light brown"
    )
)
"""Compounds that are no kind of what their words are called by; as mentions they stand for themselves alone."""

# ---------------------------------------------------------------------------------------------------------- people

MALE = word_set(
    "man guy gentleman boy father dad daddy husband groom bridegroom son brother businessman waiter king "
    "grandfather grandpa uncle fireman policeman salesman cowboy fisherman dude fellow male"
)
FEMALE = word_set(
    "woman lady girl mother mom mum mommy wife bride daughter sister businesswoman waitress queen grandmother "
    "grandma aunt bridesmaid policewoman actress hostess female"
)
YOUNG = word_set("boy girl child kid toddler baby infant son daughter youngster")
GROWN = word_set(
    "man woman gentleman lady adult father dad daddy mother mom mum mommy husband wife groom bridegroom bride "
    "parent grandfather grandpa grandmother grandma uncle aunt businessman businesswoman waiter waitress king "
    "queen driver"
)
ROLES = word_set(
    "player batter hitter pitcher catcher umpire referee goalie goalkeeper keeper striker defender opponent "
    "athlete runner skier snowboarder skateboarder skater surfer cyclist biker bicyclist motorcyclist rider "
    "jockey swimmer driver pilot passenger conductor chef cook baker waiter waitress server customer worker "
    "farmer fisherman cowboy teacher student instructor coach photographer cameraman musician guitarist singer "
    "dancer bride groom owner pedestrian shopper spectator policeman fireman officer soldier doctor nurse "
    "businessman businesswoman tourist traveler speaker performer hiker shepherd fan bystander vendor seller"
)
ONLY_ONE_ROLE = (
    word_set("batter hitter"),
    word_set("pitcher"),
    word_set("catcher"),
    word_set("umpire referee"),
    word_set("goalie goalkeeper keeper"),
    word_set("striker"),
    word_set("bride"),
    word_set("groom bridegroom"),
    word_set("passenger"),
    word_set("driver pilot conductor"),
    word_set("jockey"),
    word_set("cameraman photographer"),
    word_set("chef cook baker"),
    word_set("waiter waitress server"),
)
"""Roles of which a person has one at a time; each group is one role."""
PEOPLE = MALE | FEMALE | YOUNG | GROWN | ROLES | word_set("person individual human adult parent teenager teen sibling")
PAIRS = {"couple": 2, "trio": 3, "duo": 2}
"""Names of several people."""

# ------------------------------------------------------------------------------------------------------ properties

_SIMPLE_COLOURS = "black white red green blue yellow orange purple pink brown silver golden beige"
COLOURS = {
    **{name: name for name in word_set(_SIMPLE_COLOURS)},
    "gray": "gray",
    "grey": "gray",
    "gold": "golden",
    "tan": "beige",
    "navy": "blue",
    "maroon": "red",
    "violet": "purple",
    "blond": "blond",
    "blonde": "blond",
    "turquoise": "blue",
}
"""Colour -> the name by which it is compared."""
SMALL = word_set(
    "small smaller smallest little littler tiny tiniest short shorter shortest baby young younger youngest mini"
)
LARGE = word_set(
    "big bigger biggest large larger largest huge tall taller tallest adult grown old older oldest mature giant full"
)
UNREAL = word_set("toy stuffed model fake imaginary rocking plush")
"""What makes something no real one, unless the annotation says it too."""

CLOTHES = word_set(
    "shirt tshirt jacket coat dress suit sweater hoodie jersey uniform vest hat cap helmet shorts pants jeans "
    "trousers skirt scarf glasses sunglasses apron outfit clothes clothing gown tie gear wetsuit blouse robe top "
    "tuxedo boots shoes cardigan tee costume sweatshirt tank kimono swimsuit bikini raincoat attire goggles"
)

# ----------------------------------------------------------------------------------------------------------- places

LEFT = word_set("left leftmost lefthand")
RIGHT = word_set("right rightmost righthand")
TOP = word_set("top upper topmost uppermost highest higher")
BOTTOM = word_set("bottom lower lowest bottommost lowermost")
MIDDLE = word_set("middle center centre central")
FRONT = word_set("front foreground closest nearest closer nearer")
BACK = word_set("back rear background behind distance distant farthest furthest farther further")
PLACES = LEFT | RIGHT | TOP | BOTTOM | MIDDLE | FRONT | BACK
PLACE_NOUNS = word_set(
    "left right top bottom middle center centre front foreground back rear background distance corner side sides "
    "edge end ends"
)
PLACE_FILLERS = word_set("far very extreme hand upper lower most immediate outer other both")
PICTURES = word_set("image picture photo photograph scene frame shot view")
VIEWERS = word_set("camera viewer photographer us")
CONTAINERS = word_set("cup glass mug teacup bottle bowl plate can jar box basket pot vase tray bag carton")
ADJECTIVES = word_set("hot cold fresh sliced mixed olive orange sparkling mineral fried cooked whipped")
"""Of what is in a container."""
ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6}
_NUMBER_NAMES = _names("two, three, four, five, six, seven, eight, nine, ten")
NUMBERS = {
    **{name: number for number, name in enumerate(_NUMBER_NAMES, start=2)},
    **{str(number): number for number in range(2, 21)},
}

# ---------------------------------------------------------------------------------------------------- small words

PREPOSITIONS = word_set(
    "of in on at to from with without by near beside besides between behind above below under beneath over into "
    "onto through around along across against toward towards for about as like unlike than inside outside among "
    "next off down up during until till while because since although though if when where that which who whom "
    "whose and or but nor so before after beyond past despite whereas unless per via atop underneath alongside "
    "amid"
)
PRONOUNS = word_set(
    "i you he she it they we me him us them himself herself itself themselves there here someone somebody nobody "
    "anyone everyone something nothing anything everything what"
)
AUXILIARIES = word_set(
    "is are was were be been being am has have had do does did can could will would shall should may might must "
    "isn't aren't wasn't weren't hasn't haven't don't doesn't didn't can't cannot couldn't won't wouldn't "
    "shouldn't there's it's that's he's she's they're not never"
)
ARTICLES = word_set("a an")
DEFINITE = word_set("the this that these those his her its their my your our")
QUANTIFIERS = word_set("some any no every each either neither several many few most all both another what which whose")
DETERMINERS = ARTICLES | DEFINITE | QUANTIFIERS
MANY = word_set("these those all both several many few most")
"""Determiners of several things."""
SHARES = word_set("some most few")
"""Determiners of a share of them, that doesn't say which."""
FUNCTION_WORDS = PREPOSITIONS | PRONOUNS | AUXILIARIES | DETERMINERS

GROUPS = word_set(
    "group herd flock bunch crowd team line row set pack number lot variety stack pile collection family pair couple"
)
PARTS = word_set("slice piece half part bite portion quarter")
DEPICTIONS = word_set("statue painting drawing sculpture figurine toy model cartoon logo sketch kind type sort")

COMPOUND_HEADS = word_set(
    "house stop station track tracks stand lane door doors window windows seat wheel wheels tire tires driver "
    "owner rider player lover walker trainer keeper box food bowl bed collar leash tag tail rack path shop store "
    "park lot garage key keys wash race crash accident ticket depot terminal pass route line shelter juice peel "
    "pie tree trees sauce cake cutter knife crust dough oven bat glove field court diamond team game match ball "
    "cap hat uniform bag case cover lid handle rest room row frame sheet sheets linen spread table cloth leg legs arm "
    "arms cushion pillow lift tower face hand hands hook holder cable call number screen charger pad mat dish "
    "shelf shelves mark page pages club jump slope instructor resort boots boot pole poles pants suit trail wax "
    "lesson shirt coat hair fur skin milk meat farm ranch trough barn stable saddle racing riding show fence cage "
    "nest bath feeder feather feathers wing wings song watcher pilot cabin cockpit engine runway carrier hangar "
    "dock trailer cargo ramp trick trip ride booth fire alarm signal post traffic light lights bell basket helmet "
    "pump chain tray rim stem cellar bottle opener set remote channel program paper brush brushes roll tank drain "
    "faucet counter magnet garden soil cabinet hole clip catcher string strings dog cat pen tusk tusks "
    "trunk cub print kingdom species enclosure exhibit reserve crossing stripes pattern neck"
)
"""Nouns that follow another noun and are what is meant: "dog house", "train station"."""
VERBS_TOO = word_set(
    "stop watch rest play ride stand look walk wait run park board head face help work show hold seat back side "
    "jump race track top pass call mark cover line light fire trick trip bowl bat fly wash rack post string crash "
    "match frame peel dock set shelter table trail ramp pump cover seat tank bell brush"
)
"""Nouns of compounds whose plural is a verb as well: "the bus stops here"."""
PLURAL_VERBS = word_set(
    "look seem appear wear stand sit lie hold walk run play wait watch ride smile talk face belong want need show move "
    "also both then just too"
)
"""Words behind a place that begin what is said: "the men on the left look happy"."""
VERBS = word_set(
    "train bat bowl book ski park bear duck orange phone fly surf board fork clock couch skate cook coach show pet"
)
"""Names that are verbs after "to", a modal verb or a pronoun."""
