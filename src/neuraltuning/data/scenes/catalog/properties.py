"""Properties shared by several classes, for questions with several answers ("Which of these are animals?")."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Property:
    """A verb phrase that is true of its members, false of everything else, and debatable for `unclear`.

    Attributes:
        name: identifies the property.
        members: classes or supercategories that have it.
        unclear: classes or supercategories about which people may disagree; no question where one is in the image.
        singular, plural: the wording in all splits but `test_wordings`: "is an animal", "are animals".
        held_out_singular, held_out_plural: the wording in `test_wordings`.
    """

    name: str
    members: tuple[str, ...]
    unclear: tuple[str, ...]
    singular: str
    plural: str
    held_out_singular: str
    held_out_plural: str


PROPERTIES = (
    Property(
        "animal",
        ("animal",),
        ("teddy bear", "snowman", "robot"),
        "is an animal",
        "are animals",
        "belongs to the animal kingdom",
        "belong to the animal kingdom",
    ),
    Property(
        "bird",
        ("eagle", "duck", "owl", "penguin", "parrot", "rooster"),
        (),
        "is a bird",
        "are birds",
        "has feathers",
        "have feathers",
    ),
    Property(
        "insect",
        ("bee", "butterfly", "ladybug"),
        ("spider",),
        "is an insect",
        "are insects",
        "has six legs",
        "have six legs",
    ),
    Property(
        "farm animal",
        ("cow", "sheep", "pig", "horse", "rooster"),
        ("dog", "cat", "mouse", "rabbit", "duck"),
        "is a farm animal",
        "are farm animals",
        "is livestock",
        "are livestock",
    ),
    Property(
        "water animal",
        ("fish", "shark", "dolphin", "whale", "octopus"),
        ("crab", "lobster", "turtle", "frog", "penguin", "duck", "snake", "snail"),
        "lives in water",
        "live in water",
        "has its home below the waves",
        "have their home below the waves",
    ),
    Property(
        "flier",
        ("eagle", "duck", "owl", "parrot", "bee", "butterfly", "ladybug", "airplane", "helicopter"),
        (
            "rooster",
            "penguin",
            "rocket",
            "kite",
            "balloon",
            "broom",
            "cloud",
            "robot",
            "sun",
            "moon",
            "star",
            "rainbow",
        ),
        "can fly",
        "can fly",
        "can take off into the air",
        "can take off into the air",
    ),
    Property(
        "fruit",
        ("fruit",),
        ("tomato", "avocado", "eggplant", "corn cob", "cake"),
        "is a fruit",
        "are fruits",
        "is sold at a fruit stand",
        "are sold at a fruit stand",
    ),
    Property(
        "vegetable",
        ("vegetable",),
        ("tomato", "avocado", "corn cob", "mushroom"),
        "is a vegetable",
        "are vegetables",
        "is sold beside the lettuce",
        "are sold beside the lettuce",
    ),
    Property(
        "edible",
        ("fruit", "vegetable", "food"),
        ("animal", "drink", "gift", "sunflower", "cactus", "rose"),
        "can be eaten",
        "can be eaten",
        "is something for an empty stomach",
        "are something for an empty stomach",
    ),
    Property(
        "vehicle",
        ("vehicle",),
        ("roller skate", "horse", "elephant", "balloon", "broom"),
        "is a vehicle",
        "are vehicles",
        "is a means of transport",
        "are means of transport",
    ),
    Property(
        "wheels",
        ("car", "bus", "fire truck", "ambulance", "tractor", "bicycle", "motorcycle", "train", "roller skate"),
        ("airplane", "helicopter", "suitcase", "bed", "chair", "robot"),
        "has wheels",
        "have wheels",
        "has axles",
        "have axles",
    ),
    Property(
        "tool",
        ("hammer", "wrench", "saw", "screwdriver", "axe"),
        (
            "pair of scissors",
            "magnet",
            "key",
            "padlock",
            "magnifying glass",
            "pencil",
            "broom",
            "bucket",
            "electronics",
            "umbrella",
        ),
        "is a tool",
        "are tools",
        "belongs in a toolbox",
        "belong in a toolbox",
    ),
    Property(
        "blade",
        ("saw", "axe", "pair of scissors"),
        ("tool",),
        "is made for cutting",
        "are made for cutting",
        "has a sharp blade",
        "have a sharp blade",
    ),
    Property(
        "instrument",
        ("instrument",),
        ("keyboard",),
        "is a musical instrument",
        "are musical instruments",
        "is played by a musician",
        "are played by musicians",
    ),
    Property(
        "ball game",
        ("soccer ball", "basketball", "football", "tennis ball"),
        ("cap", "trophy", "shirt", "boxing glove", "roller skate"),
        "is used in a ball game",
        "are used in ball games",
        "belongs on a pitch or a court",
        "belong on a pitch or a court",
    ),
    Property(
        "clothing",
        ("clothing",),
        ("boxing glove", "roller skate", "backpack", "umbrella"),
        "can be worn",
        "can be worn",
        "is something to put on",
        "are something to put on",
    ),
    Property(
        "headwear",
        ("top hat", "cap", "crown"),
        ("scarf", "snowman"),
        "is worn on the head",
        "are worn on the head",
        "goes on top of your hair",
        "go on top of your hair",
    ),
    Property(
        "footwear",
        ("boot", "high heel"),
        ("roller skate",),
        "is worn on the feet",
        "are worn on the feet",
        "is sold in a shoe shop",
        "are sold in a shoe shop",
    ),
    Property(
        "electric",
        ("light bulb", "laptop", "television", "phone", "camera", "radio", "robot", "traffic light"),
        ("keyboard", "vehicle", "building", "instrument", "alarm clock", "keyboard", "stop sign"),
        "needs electricity",
        "need electricity",
        "stops working without power",
        "stop working without power",
    ),
    Property(
        "plant",
        ("plant",),
        ("fruit", "vegetable"),
        "is a plant",
        "are plants",
        "has roots in the ground",
        "have roots in the ground",
    ),
    Property(
        "flower",
        ("sunflower", "rose", "tulip"),
        ("cactus", "tree", "palm tree"),
        "is a flower",
        "are flowers",
        "is sold by a florist",
        "are sold by a florist",
    ),
    Property(
        "sky",
        ("sun", "moon", "star", "cloud", "rainbow"),
        (
            "airplane",
            "helicopter",
            "rocket",
            "kite",
            "balloon",
            "eagle",
            "duck",
            "owl",
            "parrot",
            "bee",
            "butterfly",
            "ladybug",
            "tower",
        ),
        "is seen in the sky",
        "are seen in the sky",
        "is found when you look up outdoors",
        "are found when you look up outdoors",
    ),
    Property(
        "building",
        ("house", "castle", "church"),
        ("tower", "tent"),
        "is a building",
        "are buildings",
        "was planned by an architect",
        "were planned by an architect",
    ),
)
