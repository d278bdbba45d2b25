"""Household items, plants, electronics, nature and sky, buildings, and things by the street."""

from __future__ import annotations

from neuraltuning.data.scenes.catalog.category import OBJECT_COLORS, Category, Fact

HOUSEHOLD = (
    Category(
        "chair",
        "1FA91",
        5,
        (
            Fact("is something to sit on at the table", "offers one person a seat at the table"),
            Fact("has four wooden legs and a backrest", "stands beside a table and supports your back"),
            Fact(
                "is taken away one by one in a party game with music", "is missing for one player when the music stops"
            ),
            Fact("is pulled up to a desk", "is stacked in a hall after a concert"),
        ),
        colors=OBJECT_COLORS,
    ),
    Category(
        "bed",
        "1F6CF",
        50,
        (
            Fact("is the place where you sleep at night", "is the place where you spend the night"),
            Fact("has a mattress and a pillow", "is covered with sheets and a pillow"),
            Fact("is made in the morning and used in the evening", "is hard to leave on a Monday morning"),
            Fact("is too hard, too soft or just right for Goldilocks", "was tried out by Goldilocks"),
        ),
        colors=OBJECT_COLORS,
    ),
    Category(
        "door",
        "1F6AA",
        30,
        (
            Fact("is knocked on by visitors", "is the place where visitors knock"),
            Fact("is opened to enter a room", "lets you into a room"),
            Fact("has hinges and a knob", "swings on hinges"),
            Fact("slams shut in a draft", "may creak when it is opened"),
        ),
        symmetric=True,
    ),
    Category(
        "bathtub",
        "1F6C1",
        100,
        (
            Fact("is filled with warm water and foam", "is the place where you soak in foam"),
            Fact("is the place where you lie down to wash", "is a place to lie in warm water"),
            Fact("is the place where Archimedes cried Eureka", "made Archimedes shout Eureka"),
            Fact("has a drain, a plug and two taps", "has a plug at the bottom and claw feet"),
        ),
        held_out=True,
    ),
    Category(
        "toilet",
        "1F6BD",
        40,
        (
            Fact("is flushed after use", "is flushed with several liters of water"),
            Fact("has a lid and a seat in the smallest room", "is the seat in the smallest room"),
            Fact("is the thing you need after drinking a lot", "is the thing you look for with a full bladder"),
            Fact("is cleaned with a brush and bleach", "gets clogged and needs a plunger"),
        ),
    ),
    Category(
        "candle",
        "1F56F",
        0.2,
        (
            Fact("is made of wax and has a wick", "has a wick in wax"),
            Fact("gives light for a romantic dinner", "flickers at a dinner for two"),
            Fact("is blown out on a birthday", "is counted on a birthday"),
            Fact("helps during a power cut", "lit rooms before electricity"),
        ),
        held_out=True,
        symmetric=True,
    ),
    Category(
        "light bulb",
        "1F4A1",
        0.05,
        (
            Fact("was made popular by Edison", "made Edison famous"),
            Fact("is screwed into a lamp", "makes a lamp shine"),
            Fact("stands for a good idea", "appears over your head when you have an idea"),
            Fact("glows when you press the switch", "lights up a room when the switch is pressed"),
        ),
        symmetric=True,
    ),
    Category(
        "book",
        "1F4D5",
        0.5,
        (
            Fact("is borrowed from a library", "is lent by a librarian"),
            Fact("has pages and chapters", "is read page by page"),
            Fact("is written by an author", "is signed by its author"),
            Fact("should not be judged by its cover", "is a novel or a dictionary"),
        ),
        colors=OBJECT_COLORS,
        symmetric=True,
    ),
    Category(
        "broom",
        "1F9F9",
        1,
        (
            Fact("sweeps the floor", "gets the dust off the floor"),
            Fact("is the thing a witch flies on", "carries a witch at Halloween"),
            Fact("is ridden in a game of Quidditch", "is a flying thing for Harry Potter"),
            Fact("is used with a dustpan", "has bristles and a long stick"),
        ),
    ),
    Category(
        "bucket",
        "1FAA3",
        1,
        (
            Fact("carries water to mop the floor", "holds the water for a mop"),
            Fact("is filled with sand at the beach", "is used with a spade to build towers of sand"),
            Fact("was carried up a hill by Jack and Jill", "went up the hill with Jack and Jill"),
            Fact("has a handle and is put under a leaking roof", "catches the drops of a leaking roof"),
        ),
        colors=OBJECT_COLORS,
        symmetric=True,
    ),
    Category(
        "gift",
        "1F381",
        1,
        (
            Fact("is wrapped with a ribbon", "is tied up with a bow"),
            Fact("is unwrapped on a birthday", "is a surprise in colored paper"),
            Fact("lies under the Christmas tree", "is brought by Santa Claus"),
            Fact("makes people say thank you", "is handed to a host or a birthday child"),
        ),
        colors=OBJECT_COLORS,
        symmetric=True,
    ),
    Category(
        "umbrella",
        "2602",
        0.5,
        (
            Fact("keeps you dry in the rain", "shelters you from a shower"),
            Fact("is opened on a rainy day", "should be with you when dark clouds gather"),
            Fact("is turned inside out by a storm", "is flipped over by a strong gust"),
            Fact("is folded up when the drops stop falling", "is carried by Londoners in bad weather"),
        ),
        colors=OBJECT_COLORS,
        symmetric=True,
    ),
    Category(
        "alarm clock",
        "23F0",
        0.3,
        (
            Fact("rings to wake you up", "ends your sleep with a loud ring", also=("phone",)),
            Fact("shows the time on your bedside table", "ticks beside your pillow"),
            Fact("has two hands and a snooze button", "is silenced with a sleepy slap"),
            Fact(
                "tells you that it is time to get up",
                "is set in the evening for the next morning",
                also=("rooster", "phone"),
            ),
        ),
        symmetric=True,
    ),
    Category(
        "suitcase",
        "1F9F3",
        4,
        (
            Fact("is packed before a trip", "is filled with clothes before a holiday"),
            Fact("is checked in at the airport", "comes round on the belt at the airport"),
            Fact("is a traveler's luggage", "is carried by the porter of a hotel"),
            Fact("has stickers from many hotels", "has a handle and is lost by airlines"),
        ),
        symmetric=True,
    ),
)

PLANTS = (
    Category(
        "tree",
        "1F333",
        1000,
        (
            Fact("has a trunk, branches and a round crown of leaves", "has leaves, bark and a round crown"),
            Fact("loses its leaves in autumn", "stands bare in winter"),
            Fact("shows its age in rings", "is as old as it has rings"),
            Fact("gives shade in the park", "is climbed by children and carved by lovers"),
        ),
        symmetric=True,
    ),
    Category(
        "palm tree",
        "1F334",
        500,
        (
            Fact("grows on tropical beaches", "stands on a desert island"),
            Fact("bears dates in an oasis", "gives shade in an oasis"),
            Fact("sways on the beaches of Hawaii", "lines the streets of Los Angeles"),
            Fact("has a thin trunk and fronds at the top", "has no branches, only fronds at the top"),
        ),
    ),
    Category(
        "cactus",
        "1F335",
        100,
        (
            Fact("has spines and needs very little water", "is covered in prickles"),
            Fact("grows in the desert", "stores water in the dry lands of Arizona"),
            Fact("stands with raised arms in a western", "is a prickly sight in a western"),
            Fact("should not be hugged", "hurts if you touch it"),
        ),
        held_out=True,
        irregular_plural="cactuses",
        symmetric=True,
    ),
    Category(
        "sunflower",
        "1F33B",
        1,
        (
            Fact("was painted in a vase by van Gogh", "is the subject of a famous van Gogh"),
            Fact("turns its yellow head toward the light", "follows the light through the day"),
            Fact("gives seeds that are pressed for oil", "is grown for oil and bird seed"),
            Fact("is a tall yellow flower", "may grow taller than a man and blooms yellow"),
        ),
    ),
    Category(
        "rose",
        "1F339",
        0.05,
        (
            Fact("is given on Valentine's Day", "is a lover's present with a sweet scent"),
            Fact("has thorns", "pricks you with its thorns"),
            Fact("stands for romantic love", "is a red symbol of love"),
            Fact("grows under a glass dome in Beauty and the Beast", "loses its petals in Beauty and the Beast"),
        ),
    ),
    Category(
        "tulip",
        "1F337",
        0.05,
        (
            Fact("grows from a bulb in the fields of Holland", "is the pride of Holland"),
            Fact("has one cup-shaped blossom in spring", "opens its cup in April"),
            Fact("once cost as much as a house in Amsterdam", "caused a mania in old Amsterdam"),
            Fact("is a spring flower that stands beside a windmill", "blooms in rows beside windmills"),
        ),
        colors=OBJECT_COLORS,
    ),
)

ELECTRONICS = (
    Category(
        "laptop",
        "1F4BB",
        1.8,
        (
            Fact("is a computer you can fold and carry", "is a computer that fits in a bag"),
            Fact("is used to write emails in a cafe", "is opened in a cafe to write a report", also=("phone",)),
            Fact("has a screen, keys and a touchpad", "has a touchpad and folds shut"),
            Fact("runs a spreadsheet", "is a programmer's machine for the train"),
        ),
        symmetric=True,
    ),
    Category(
        "television",
        "1F4FA",
        15,
        (
            Fact("shows the evening news in the living room", "brings the news into the living room"),
            Fact("is watched from the sofa", "keeps people on the sofa all evening"),
            Fact("is switched with a remote control", "has channels and a remote"),
            Fact("shows soap operas and quiz shows", "is the thing couch potatoes look at"),
        ),
        symmetric=True,
    ),
    Category(
        "keyboard",
        "2328",
        0.7,
        (
            Fact("is used for typing letters", "is the thing a typist hits"),
            Fact("has a space bar and a shift key", "has an enter and an escape key"),
            Fact("starts with QWERTY", "has letters in the order QWERTY"),
            Fact("is hacked on by a gamer next to the monitor", "collects crumbs between its letters"),
        ),
        symmetric=True,
    ),
    Category(
        "phone",
        "1F4F1",
        0.2,
        (
            Fact("is used to send text messages on the go", "receives text messages in your pocket"),
            Fact("is made by Apple and Samsung and fits into a pocket", "fits in a pocket and runs apps"),
            Fact("is used to take selfies", "is held up for a selfie", also=("camera",)),
            Fact("has a touch screen full of apps", "is swiped with a thumb"),
        ),
        symmetric=True,
    ),
    Category(
        "camera",
        "1F4F7",
        0.7,
        (
            Fact("takes photos through a lens", "captures a moment through its lens", also=("phone",)),
            Fact("is carried around the neck by tourists", "hangs from a tourist's neck"),
            Fact("makes people say cheese", "makes people smile and hold still", also=("phone",)),
            Fact("has a flash, a shutter and a lens", "is a paparazzo's tool", also=("phone",)),
        ),
        symmetric=True,
    ),
    Category(
        "radio",
        "1F4FB",
        1,
        (
            Fact("plays music from stations on FM", "is tuned to a station"),
            Fact("has an antenna and a dial", "crackles when its dial is between stations"),
            Fact("brings you songs and talk without pictures", "is only for listening"),
            Fact("was invented by Marconi", "was made possible by Marconi"),
        ),
        held_out=True,
        symmetric=True,
    ),
)

NATURE = (
    Category(
        "sun",
        "2600",
        2e30,
        (
            Fact("gives us light and warmth by day", "makes the day bright and warm"),
            Fact("rises in the east", "sets in the west"),
            Fact("may burn your skin at noon", "is the reason for sunscreen"),
            Fact("is the thing the Earth travels around", "is at the center of our solar system"),
        ),
        symmetric=True,
    ),
    Category(
        "moon",
        "1F319",
        7e22,
        (
            Fact("shines at night and causes the tides", "pulls the sea up and down"),
            Fact("was visited by Neil Armstrong", "carries the footprints of Neil Armstrong"),
            Fact("waxes and wanes within a month", "is full once a month"),
            Fact("makes wolves howl", "is howled at by wolves"),
        ),
    ),
    Category(
        "star",
        "2B50",
        1e30,
        (
            Fact("twinkles in the sky at night", "is the thing a nursery song wants to twinkle"),
            Fact("led the three kings to Bethlehem", "stood above the stable in Bethlehem"),
            Fact("is given to good hotels and generals", "rates a hotel"),
            Fact("is part of a constellation", "has five points and sits on top of a Christmas tree"),
        ),
        colors=OBJECT_COLORS,
        symmetric=True,
    ),
    Category(
        "cloud",
        "2601",
        500000,
        (
            Fact("brings rain", "lets rain fall on the fields"),
            Fact("drifts across the sky", "floats over you and looks like wool"),
            Fact("hides the blue of the sky on a gray day", "makes the day gray"),
            Fact("is made of tiny drops of water high up", "is water that floats high up"),
        ),
        symmetric=True,
    ),
    Category(
        "rainbow",
        "1F308",
        1,
        (
            Fact("shows seven colors after the rain", "appears when sunlight meets rain"),
            Fact("has a pot of gold at its end", "leads to a pot of gold"),
            Fact("is an arch from red to violet", "bends over the land in all colors"),
            Fact("is a symbol of pride and diversity", "is on the flag of the pride parade"),
        ),
        held_out=True,
        symmetric=True,
    ),
    Category(
        "snowman",
        "26C4",
        100,
        (
            Fact("is built by children in winter", "is made of three white balls"),
            Fact("melts in spring", "does not survive the spring"),
            Fact("is called Frosty or Olaf", "likes warm hugs in the film Frozen"),
            Fact("wears a hat and stands in the cold garden", "stands in the garden when it is freezing"),
        ),
        symmetric=True,
    ),
    Category(
        "volcano",
        "1F30B",
        1e12,
        (
            Fact("spits lava and ash", "erupts"),
            Fact("buried the city of Pompeii", "destroyed Pompeii"),
            Fact("is a mountain with a crater", "has a crater full of hot rock"),
            Fact("has magma boiling inside", "lets molten rock run down its slopes"),
        ),
        irregular_plural="volcanoes",
        symmetric=True,
    ),
    Category(
        "flame",
        "1F525",
        0.01,
        (
            Fact("is hot and burns wood", "turns wood to ashes"),
            Fact("is put out with water", "goes out when you pour water on it"),
            Fact("dances in the fireplace", "crackles in the fireplace"),
            Fact("is the thing a dragon breathes", "comes out of a dragon's mouth"),
        ),
    ),
)

BUILDINGS = (
    Category(
        "house",
        "1F3E0",
        100000,
        (
            Fact("is home to a family and has a chimney", "is the place where a family lives"),
            Fact("is bought with a mortgage", "costs a mortgage"),
            Fact("has a garden, a front porch and a roof", "is blown down by the big bad wolf"),
            Fact("is haunted in ghost stories", "is sold by a real estate agent"),
        ),
    ),
    Category(
        "castle",
        "1F3F0",
        50000000,
        (
            Fact("has towers and a drawbridge", "has battlements and a moat"),
            Fact("is home to a king and his knights", "was besieged by knights"),
            Fact("is built of stone with thick walls against enemies", "is a fortress of the Middle Ages"),
            Fact("stands at the heart of Disneyland", "is the landmark of Disneyland"),
        ),
        held_out=True,
        symmetric=True,
    ),
    Category(
        "church",
        "26EA",
        2000000,
        (
            Fact("has a steeple and a cross", "has a cross on its roof"),
            Fact("is the place where Christians pray on Sunday", "is the place where a priest preaches"),
            Fact("has an altar, an organ and pews", "has pews and an altar"),
            Fact("is the place where a couple says I do", "rings its bells for a wedding"),
        ),
        irregular_plural="churches",
        symmetric=True,
    ),
    Category(
        "tent",
        "26FA",
        5,
        (
            Fact("is used for camping", "is put up at a campsite"),
            Fact("is the place where you sleep outdoors", "protects you when you sleep in the wild"),
            Fact("is held up by poles and pegs", "is fixed with pegs and ropes"),
            Fact("is a home of cloth that is folded up", "is a home of canvas for scouts"),
        ),
        colors=OBJECT_COLORS,
        symmetric=True,
    ),
    Category(
        "tower",
        "1F5FC",
        4000000,
        (
            Fact("stands in Paris and is named after Eiffel", "was built by Eiffel"),
            Fact("is a very tall landmark of steel", "is made of iron and visited by millions in a capital"),
            Fact("is taken up by elevator to look over the city", "offers a view over the city"),
            Fact("sends signals from its top far above the roofs", "rises high above all roofs"),
        ),
        symmetric=True,
    ),
)

STREET = (
    Category(
        "traffic light",
        "1F6A6",
        30,
        (
            Fact("tells drivers when to stop and when to go", "lets drivers go at green"),
            Fact("changes from red to green at a crossing", "changes its color at a crossing"),
            Fact("has three lamps on top of each other", "has a red, a yellow and a green lamp"),
            Fact("keeps drivers waiting at a junction", "controls who may drive at a junction"),
        ),
        symmetric=True,
    ),
    Category(
        "stop sign",
        "1F6D1",
        5,
        (
            Fact("is a red octagon", "is red and has eight sides"),
            Fact("tells drivers to halt before going on", "makes every driver halt", also=("traffic light",)),
            Fact("has four white letters on red", "has one word on it in white letters"),
            Fact("stands at a corner and must not be driven past without a halt", "is ignored by reckless drivers"),
        ),
        symmetric=True,
    ),
    Category(
        "mailbox",
        "1F4EB",
        10,
        (
            Fact("is the place where letters arrive", "is filled by the postman"),
            Fact("has a little flag for the postman", "stands by the road with a little flag"),
            Fact("holds bills, postcards and letters", "is checked every day for letters"),
            Fact("is emptied by you and filled by the postal service", "waits for letters in front of the house"),
        ),
        irregular_plural="mailboxes",
        symmetric=True,
    ),
)
