"""Things to eat and drink: fruit, vegetables, food and drinks."""

from __future__ import annotations

from neuraltuning.data.scenes.catalog.category import Category, Fact

FRUIT = (
    Category(
        "apple",
        "1F34E",
        0.2,
        (
            Fact("keeps the doctor away if eaten once a day", "is said to save you a visit to the doctor"),
            Fact("fell on Newton's head", "gave Newton the idea of gravity"),
            Fact("poisoned Snow White", "was the witch's gift to Snow White"),
            Fact("is pressed to make cider", "is turned into cider in autumn", also=("pear",)),
        ),
        colors=("red", "green", "yellow"),
    ),
    Category(
        "pear",
        "1F350",
        0.2,
        (
            Fact("is narrow at the top and wide at the bottom", "is a bell-shaped orchard fruit"),
            Fact("is the fruit a partridge sits beside in a Christmas song", "belongs to the partridge in the carol"),
            Fact("is a juicy fruit with a long neck", "is a soft sweet fruit shaped like a lamp"),
            Fact("gives its name to a body shape with wide hips", "describes a figure with wide hips"),
        ),
        held_out=True,
    ),
    Category(
        "lemon",
        "1F34B",
        0.1,
        (
            Fact("tastes very sour", "makes you pull a face when you bite into it"),
            Fact("is squeezed to make a sour summer drink", "is the main part of a sour refreshment"),
            Fact("is squeezed over fish", "adds a sour splash to fish"),
            Fact("was eaten by sailors against scurvy", "kept sailors safe from scurvy with its vitamin C"),
        ),
    ),
    Category(
        "banana",
        "1F34C",
        0.15,
        (
            Fact("has a peel that people slip on in cartoons", "is slippery when its skin lies on the floor"),
            Fact("is a long curved fruit", "is a bent fruit that grows in bunches"),
            Fact("is peeled from one end before it is eaten", "has a thick skin that is pulled off in strips"),
            Fact("is the favorite snack of apes", "is the thing apes like best"),
        ),
    ),
    Category(
        "watermelon",
        "1F349",
        5,
        (
            Fact("has red flesh, black seeds and a green rind", "is red inside and green outside"),
            Fact("is a huge juicy fruit eaten in slices in summer", "is sliced at a picnic on a hot day"),
            Fact("makes people spit seeds at a picnic", "is used in seed spitting contests"),
            Fact("consists of more than ninety percent water", "is almost nothing but water"),
        ),
    ),
    Category(
        "strawberry",
        "1F353",
        0.02,
        (
            Fact("wears its seeds on the outside", "is a red berry dotted with seeds"),
            Fact("is served with cream at Wimbledon", "is eaten with cream at a tennis tournament"),
            Fact("is a sweet red berry that grows near the ground", "is picked from low plants in June"),
            Fact("is a popular flavor of pink jam", "is cooked into red jam"),
        ),
        held_out=True,
        irregular_plural="strawberries",
        symmetric=True,
    ),
    Category(
        "peach",
        "1F351",
        0.15,
        (
            Fact("has a fuzzy skin and a hard stone", "is a soft fruit covered in fuzz", also=("kiwi",)),
            Fact("is the fruit that Georgia is famous for", "is the symbol of the state of Georgia"),
            Fact("is a velvety fruit with a pit", "feels like velvet and hides a big pit"),
            Fact("carried James across the sea in a story", "grew giant for a boy called James"),
        ),
        irregular_plural="peaches",
    ),
    Category(
        "pineapple",
        "1F34D",
        1.5,
        (
            Fact("has a spiky skin and a crown of leaves", "is a prickly fruit with a tuft of leaves on top"),
            Fact("is the fruit people argue about on Hawaiian pizza", "is the disputed topping of a pizza Hawaii"),
            Fact("is a symbol of Hawaii that is cut into rings", "is sold as yellow rings in a can"),
            Fact("is the home of SpongeBob", "is the thing SpongeBob lives in"),
        ),
        symmetric=True,
    ),
    Category(
        "kiwi",
        "1F95D",
        0.1,
        (
            Fact("is green inside with tiny black seeds", "shows green flesh with a ring of small seeds"),
            Fact("shares its name with a bird of New Zealand", "is called like a New Zealander"),
            Fact("is a hairy brown fruit that is eaten with a spoon", "is spooned out of its hairy skin"),
            Fact("is a small green fruit full of vitamin C", "gives you vitamin C in green slices"),
        ),
        symmetric=True,
    ),
    Category(
        "coconut",
        "1F965",
        1.4,
        (
            Fact("falls from a palm and must be cracked open", "needs a strong blow to be opened"),
            Fact("has white flesh in a hard hairy shell", "is white inside and hairy outside"),
            Fact("contains a milk used in Thai curries", "holds a sweet water you can drink on a tropical beach"),
            Fact("is the tropical nut knocked down at a fair", "is a nut as big as a head"),
        ),
    ),
)

VEGETABLES = (
    Category(
        "tomato",
        "1F345",
        0.1,
        (
            Fact("is made into ketchup", "is the main part of ketchup"),
            Fact("is cooked into the red sauce on spaghetti", "becomes a red pasta sauce"),
            Fact("is thrown at bad actors", "is thrown by the crowd at a festival in Spain", also=("egg",)),
            Fact("is a red fruit that many people call a vegetable", "is botanically a berry but ends up in the salad"),
        ),
        irregular_plural="tomatoes",
    ),
    Category(
        "eggplant",
        "1F346",
        0.4,
        (
            Fact("is a purple vegetable used in moussaka", "is layered in a Greek moussaka"),
            Fact("is called aubergine in Britain", "is an aubergine to the British"),
            Fact("is a shiny purple vegetable", "has a glossy violet skin"),
            Fact("is mashed into baba ganoush", "is roasted for baba ganoush"),
        ),
    ),
    Category(
        "carrot",
        "1F955",
        0.1,
        (
            Fact("is a snowman's nose", "becomes a nose in winter"),
            Fact("is the favorite food of Bugs Bunny", "is the thing Bugs Bunny chews"),
            Fact("is an orange root that is good for the eyes", "is said to make you see better"),
            Fact("is dangled before a donkey on a stick", "is the opposite of the stick"),
        ),
        held_out=True,
    ),
    Category(
        "corn cob",
        "1F33D",
        0.3,
        (
            Fact("is covered in rows of yellow kernels", "has hundreds of yellow grains in rows"),
            Fact("is the source of popcorn", "carries the grains that pop at the movies"),
            Fact("is grilled and eaten from both ends with butter", "is held at both ends and gnawed"),
            Fact("grows in tall fields in Iowa", "ripens on tall stalks in the fields of the Midwest"),
        ),
    ),
    Category(
        "broccoli",
        "1F966",
        0.4,
        (
            Fact("is a vegetable that looks like a little tree", "resembles a tiny tree on the plate"),
            Fact("is a green vegetable many children refuse", "is left on the plate by picky children"),
            Fact("has green florets", "is cut into florets and steamed"),
            Fact("is a green cousin of cauliflower", "is closely related to cauliflower"),
        ),
        irregular_plural="broccoli heads",
        symmetric=True,
    ),
    Category(
        "potato",
        "1F954",
        0.2,
        (
            Fact("is cut into strips to make french fries", "is turned into chips and fries"),
            Fact("grows underground and is mashed or baked", "is dug up and mashed for dinner"),
            Fact("is a brown tuber full of starch", "is a starchy lump from the soil"),
            Fact("was once the main food of Ireland", "was missing in the great famine of Ireland"),
        ),
        irregular_plural="potatoes",
    ),
    Category(
        "onion",
        "1F9C5",
        0.15,
        (
            Fact("makes you cry when you cut it", "brings tears to the cook's eyes"),
            Fact("is built of many layers", "consists of one skin under another", also=("cake", "croissant")),
            Fact("is fried into crispy rings", "is sold as battered rings"),
            Fact("is a bulb that is chopped first in many recipes", "is the bulb a stew begins with"),
        ),
        symmetric=True,
    ),
    Category(
        "mushroom",
        "1F344",
        0.05,
        (
            Fact("pops up in the forest after rain", "sprouts on the forest floor in autumn"),
            Fact("is a fungus with a cap", "is neither plant nor animal but a fungus"),
            Fact("may be poisonous if you pick the wrong one", "should only be picked by people who know the kinds"),
            Fact("lets Mario grow", "makes a plumber bigger in a video game"),
        ),
        symmetric=True,
    ),
    Category(
        "avocado",
        "1F951",
        0.2,
        (
            Fact("is mashed into guacamole", "is the main part of guacamole"),
            Fact("is spread on trendy toast", "is put on toast at brunch"),
            Fact("has creamy green flesh around a big brown stone", "hides one big round seed in buttery flesh"),
            Fact("is a fatty green fruit from Mexico", "is full of healthy fat"),
        ),
        irregular_plural="avocados",
    ),
)

FOOD = (
    Category(
        "burger",
        "1F354",
        0.3,
        (
            Fact("is a round bun with a meat patty", "has a grilled patty between two halves of a bun"),
            Fact("is the main dish at a drive-in with fries", "is the thing fast-food chains are famous for"),
            Fact("is named after the German city of Hamburg", "got its name from Hamburg"),
            Fact("is stacked with beef, lettuce and pickles", "is beef and pickles in a soft bun"),
        ),
        symmetric=True,
    ),
    Category(
        "pizza",
        "1F355",
        0.2,
        (
            Fact("comes from Naples and has melted cheese on top", "is an Italian flatbread baked with cheese"),
            Fact("is delivered in a flat square carton", "is brought to your door in a flat carton"),
            Fact("is cut into slices with pepperoni on them", "is a slice topped with salami"),
            Fact("is the favorite food of the Ninja Turtles", "is baked in a hot stone oven in Italy"),
        ),
    ),
    Category(
        "sandwich",
        "1F96A",
        0.25,
        (
            Fact("was named after an English earl", "bears the name of an earl who loved playing cards"),
            Fact("is a filling between two slices of toast", "puts ham and salad between slices"),
            Fact("is packed into a lunch box", "is wrapped up for lunch at school"),
            Fact("is cut in triangles and eaten cold", "is a triangle sold in plastic at a gas station"),
        ),
        held_out=True,
        irregular_plural="sandwiches",
    ),
    Category(
        "taco",
        "1F32E",
        0.2,
        (
            Fact("is a folded tortilla with filling", "is a crispy folded shell with meat and salad"),
            Fact("is a popular Mexican snack", "is street food from Mexico"),
            Fact("is eaten on Tuesdays with salsa", "is served with salsa in a shell"),
            Fact("has a shell of corn flour that breaks when you bite", "crumbles when you bite its corn shell"),
        ),
        symmetric=True,
    ),
    Category(
        "croissant",
        "1F950",
        0.06,
        (
            Fact("is a flaky French breakfast roll", "is eaten for breakfast in Paris"),
            Fact("is shaped like a crescent", "has the form of a half moon and is full of butter"),
            Fact("is made of many thin layers of butter dough", "leaves flaky crumbs all over the table"),
            Fact("is dipped into coffee in a French cafe", "is bought in a French bakery in the morning"),
        ),
    ),
    Category(
        "pretzel",
        "1F968",
        0.1,
        (
            Fact("is a salty knot of dough", "is dough tied in a knot with salt on top"),
            Fact("is eaten with mustard in Bavaria", "is sold at the Oktoberfest"),
            Fact("is twisted before it is baked", "has a twisted shape with three holes"),
            Fact("is a brown knotted bread", "is baked in the shape of folded arms"),
        ),
        symmetric=True,
    ),
    Category(
        "cheese wedge",
        "1F9C0",
        0.2,
        (
            Fact("is made from milk and has holes", "is a milk product full of holes"),
            Fact("is put into a mousetrap", "is the bait in a mousetrap"),
            Fact("is a yellow product of the dairy", "ripens in the cellar of a dairy"),
            Fact("is melted in a Swiss fondue", "ends up in a Swiss fondue"),
        ),
    ),
    Category(
        "egg",
        "1F95A",
        0.06,
        (
            Fact("is laid by a hen", "comes out of a hen"),
            Fact("has a yolk inside", "is yellow and white inside a thin shell"),
            Fact("is boiled for breakfast for about five minutes", "is served soft-boiled in a little cup"),
            Fact("is Humpty Dumpty", "fell off a wall in a nursery rhyme"),
        ),
        symmetric=True,
    ),
    Category(
        "cake",
        "1F370",
        1.5,
        (
            Fact("is served at birthdays and weddings", "is cut at a birthday party"),
            Fact("is sweet, layered and topped with cream", "is a creamy dessert in layers"),
            Fact(
                "is the thing Marie Antoinette told the poor to eat", "is offered to the poor in a famous royal quote"
            ),
            Fact(
                "is the sweet thing at a coffee party",
                "is eaten with a little fork at a coffee party",
                also=("cookie",),
            ),
        ),
    ),
    Category(
        "donut",
        "1F369",
        0.06,
        (
            Fact("is a fried ring with icing", "is a glazed ring of sweet dough"),
            Fact("has a hole in the middle and sprinkles", "is sweet and has a hole in it"),
            Fact("is Homer Simpson's favorite treat", "is the thing Homer Simpson craves"),
            Fact("is a police officer's snack in films", "is eaten by cops in American comedies"),
        ),
        held_out=True,
        symmetric=True,
    ),
    Category(
        "cookie",
        "1F36A",
        0.02,
        (
            Fact("has chocolate chips in it", "is dotted with pieces of chocolate"),
            Fact("is left out for Santa Claus", "is put beside a glass of milk on Christmas Eve"),
            Fact("is a file that websites store on your computer", "is something websites ask you to accept"),
            Fact("is the thing the blue monster of Sesame Street loves", "is baked on a tray and kept in a jar"),
        ),
        symmetric=True,
    ),
    Category(
        "ice cream",
        "1F366",
        0.15,
        (
            Fact("melts quickly in the sun", "drips onto your hand on a hot day", also=("snowman",)),
            Fact("is licked from a cone", "is served in a waffle cone"),
            Fact("is a frozen dessert", "is a cold sweet treat sold from a van with a tune"),
            Fact("comes in flavors such as vanilla", "is ordered by the scoop"),
        ),
        symmetric=True,
    ),
)

DRINKS = (
    Category(
        "coffee cup",
        "2615",
        0.3,
        (
            Fact(
                "wakes people up in the morning",
                "holds the caffeine people need at work",
                also=("alarm clock", "rooster"),
            ),
            Fact("holds an espresso or a cappuccino", "is filled by a barista"),
            Fact("holds a hot brown drink made from roasted beans", "contains a steaming drink of roasted beans"),
            Fact("steams on a saucer on the office desk", "stands on a saucer and steams"),
        ),
    ),
    Category(
        "teapot",
        "1FAD6",
        1,
        (
            Fact("is used to brew leaves in hot water", "lets leaves steep in hot water"),
            Fact("is short and stout in a nursery song", "has a handle and a spout in a nursery song"),
            Fact("stands on the table at five o'clock in England", "pours for the English in the afternoon"),
            Fact("has a spout and a lid", "pours a hot drink through its spout"),
        ),
    ),
    Category(
        "wine glass",
        "1F377",
        0.3,
        (
            Fact("holds a red drink made from grapes", "contains fermented grape juice"),
            Fact("has a thin stem and holds something red", "is filled with Merlot"),
            Fact("is raised for a toast at a fine dinner", "is held by the stem while tasting"),
            Fact("holds the famous drink of Bordeaux", "is swirled and sniffed by a sommelier"),
        ),
        irregular_plural="wine glasses",
        symmetric=True,
    ),
    Category(
        "beer mug",
        "1F37A",
        1,
        (
            Fact("holds a foaming drink made from hops", "is filled with a brew of hops and malt"),
            Fact("has white foam on top and a thick handle", "is topped by a head of foam"),
            Fact("is emptied at the Oktoberfest", "is carried ten at a time at the Oktoberfest"),
            Fact("is ordered in a pub by thirsty men", "is served as a pint in a pub"),
        ),
    ),
    Category(
        "cocktail",
        "1F378",
        0.3,
        (
            Fact("is shaken, not stirred, for James Bond", "is the thing James Bond orders"),
            Fact("is mixed by a bartender from several liquors", "is shaken with ice at the bar"),
            Fact("is served with an olive in a triangular glass", "comes in a glass shaped like a funnel"),
            Fact("is a mixed drink such as a martini", "is a strong mix in a fancy glass"),
        ),
        held_out=True,
    ),
)
