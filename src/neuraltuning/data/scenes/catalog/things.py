"""Tools, musical instruments, sports gear, toys and clothing."""

from __future__ import annotations

from neuraltuning.data.scenes.catalog.category import OBJECT_COLORS, Category, Fact

TOOLS = (
    Category(
        "hammer",
        "1F528",
        1,
        (
            Fact("drives nails into wood", "knocks a nail into the wall"),
            Fact("may hit your thumb while you hang a picture", "hurts your thumb when you miss the nail"),
            Fact("is swung by Thor", "is the weapon of the god Thor"),
            Fact("is brought down at an auction", "has a heavy head for pounding"),
        ),
    ),
    Category(
        "wrench",
        "1F527",
        0.5,
        (
            Fact("tightens bolts and nuts", "loosens a bolt"),
            Fact("is used by a plumber on pipes", "is a mechanic's tool for nuts"),
            Fact("is called a spanner in Britain", "is a spanner to the British"),
            Fact("grips a nut and turns it", "is turned to fasten a wheel nut"),
        ),
        irregular_plural="wrenches",
    ),
    Category(
        "saw",
        "1FA9A",
        1,
        (
            Fact("cuts a board with its teeth", "has metal teeth that go through wood"),
            Fact("is moved back and forth to cut planks", "is pushed and pulled through a plank"),
            Fact("is used in a magic trick to cut a lady in half", "divides a lady in a magic show"),
            Fact("leaves dust when it cuts wood", "turns part of a board into dust"),
        ),
    ),
    Category(
        "screwdriver",
        "1FA9B",
        0.2,
        (
            Fact("turns screws", "is twisted to fix a screw"),
            Fact("has a flat or a cross-shaped tip", "comes with a Phillips tip"),
            Fact("helps to put shelves with screws together", "is needed to build a shelf from a kit"),
            Fact("opens the screwed-down battery cover of a toy", "removes screws"),
        ),
        held_out=True,
    ),
    Category(
        "axe",
        "1FA93",
        2,
        (
            Fact("chops firewood", "splits a log for the fireplace"),
            Fact("is used by a lumberjack to fell trees", "brings a tree down blow by blow", also=("saw",)),
            Fact("belongs to a lumberjack and to a Viking", "was a Viking's favorite weapon"),
            Fact("has a wooden handle and a heavy sharp blade", "has a blade that is swung with both arms"),
        ),
    ),
    Category(
        "pair of scissors",
        "2702",
        0.1,
        (
            Fact("cuts paper along a line", "snips paper and cloth"),
            Fact("is used by a hairdresser", "trims your hair at the barber's"),
            Fact("beats paper and loses to rock", "loses against rock in a hand game"),
            Fact("has two blades and two holes for the fingers", "has holes for your thumb and finger"),
        ),
        irregular_plural="pairs of scissors",
    ),
    Category(
        "magnet",
        "1F9F2",
        0.2,
        (
            Fact("attracts iron", "pulls paper clips and nails toward it"),
            Fact("has a north pole and a south pole", "has two opposite poles"),
            Fact("sticks to the door of a fridge", "holds notes on the fridge"),
            Fact("makes a compass needle turn", "disturbs the needle of a compass"),
        ),
    ),
    Category(
        "key",
        "1F511",
        0.03,
        (
            Fact("opens a locked door", "lets you into your locked home"),
            Fact("hangs on a ring in your pocket", "is easily lost together with its ring"),
            Fact("is turned to start a motor", "goes into the ignition"),
            Fact("is left under the doormat", "is copied by a locksmith"),
        ),
    ),
    Category(
        "padlock",
        "1F512",
        0.2,
        (
            Fact("secures a locker or a gate", "keeps a locker shut"),
            Fact("is fixed to a bridge by lovers", "is hung on a bridge by couples in Paris"),
            Fact("snaps shut and keeps thieves out", "clicks shut to keep burglars out"),
            Fact("is the sign of a secure web page", "shows in a browser that a page is safe"),
        ),
        symmetric=True,
    ),
    Category(
        "magnifying glass",
        "1F50D",
        0.2,
        (
            Fact("makes small things look bigger", "enlarges tiny letters"),
            Fact("is used by Sherlock Holmes to find clues", "is a detective's tool"),
            Fact("can start a fire with sunlight", "bundles the light of the sun into a hot spot"),
            Fact("stands for search on a computer", "is the symbol for search"),
        ),
        irregular_plural="magnifying glasses",
    ),
    Category(
        "pencil",
        "270F",
        0.01,
        (
            Fact("writes and can be erased", "makes gray lines that an eraser removes"),
            Fact("is sharpened when it gets blunt", "gets shorter every time it is sharpened"),
            Fact("is used for drawing sketches", "is the thing an artist sketches with"),
            Fact("has a core of graphite", "is graphite in a wooden shaft"),
        ),
    ),
)

INSTRUMENTS = (
    Category(
        "guitar",
        "1F3B8",
        3.5,
        (
            Fact("has six strings and is played in a rock band", "is plucked by a rock star"),
            Fact("was played by Jimi Hendrix", "made Jimi Hendrix famous"),
            Fact("is strummed at the campfire", "accompanies songs around a campfire"),
            Fact("is plugged into an amplifier and has frets", "has frets and six strings"),
        ),
        colors=OBJECT_COLORS,
    ),
    Category(
        "violin",
        "1F3BB",
        0.5,
        (
            Fact("is played with a bow", "is stroked with horsehair to make music"),
            Fact("is held under the chin", "is clamped between chin and shoulder"),
            Fact("was built by Stradivari", "is worth millions if made by Stradivari"),
            Fact("leads the strings of an orchestra", "is played by the concertmaster of an orchestra"),
        ),
        held_out=True,
    ),
    Category(
        "trumpet",
        "1F3BA",
        1,
        (
            Fact("is a brass instrument with three valves", "is made of brass and has three valves"),
            Fact("was played by Louis Armstrong", "made Louis Armstrong famous"),
            Fact("is blown to announce a king", "sounds a fanfare for a king"),
            Fact("is played in jazz by pressing your lips to it", "needs strong lips and lungs in a jazz band"),
        ),
    ),
    Category(
        "drum",
        "1F941",
        5,
        (
            Fact("is beaten with two sticks", "is hit with sticks"),
            Fact("gives the band its rhythm", "keeps the beat in a band"),
            Fact("is carried by a little boy in a Christmas song", "goes pa rum pum pum pum in a carol"),
            Fact("is the thing Ringo Starr played", "was Ringo Starr's job in the Beatles"),
        ),
        colors=OBJECT_COLORS,
    ),
    Category(
        "piano",
        "1F3B9",
        300,
        (
            Fact("has black and white keys", "has eighty-eight keys"),
            Fact("was played by Chopin", "is the thing Chopin composed for"),
            Fact("needs ten fingers on keys to play a sonata", "is played with ten fingers on its keys"),
            Fact("is tuned by a man with a fork and has pedals", "stands in a concert hall with its lid open"),
        ),
        irregular_plural="pianos",
        symmetric=True,
    ),
    Category(
        "accordion",
        "1FA97",
        8,
        (
            Fact("has bellows that are pulled and pushed", "is squeezed to make music"),
            Fact("is played in polka music", "makes people dance the polka"),
            Fact("plays French music in films set in Paris", "is heard in the streets of Paris in films"),
            Fact("is worn on the chest and has buttons and bellows", "breathes like a lung while it plays"),
        ),
    ),
)

SPORTS = (
    Category(
        "soccer ball",
        "26BD",
        0.43,
        (
            Fact("is kicked into a goal", "is shot past a goalkeeper"),
            Fact("is used at the World Cup", "is the thing eleven players chase at the World Cup"),
            Fact("is covered with black and white patches", "is sewn from black and white patches"),
            Fact("may only be touched with the hands by the keeper", "is played with feet and heads"),
        ),
        symmetric=True,
    ),
    Category(
        "basketball",
        "1F3C0",
        0.6,
        (
            Fact("is thrown through a hoop", "goes through a high ring with a net"),
            Fact("is dribbled on the court of the NBA", "is bounced by tall players"),
            Fact("was Michael Jordan's tool", "made Michael Jordan famous"),
            Fact("scores three points from far away", "is dunked"),
        ),
        held_out=True,
        symmetric=True,
    ),
    Category(
        "football",
        "1F3C8",
        0.4,
        (
            Fact("is thrown by a quarterback", "is passed by a quarterback"),
            Fact("is used at the Super Bowl", "is carried for a touchdown"),
            Fact("is an egg-shaped ball with laces", "is a brown ball with pointed ends"),
            Fact("flies in a spiral when thrown well", "is caught in the end zone"),
        ),
    ),
    Category(
        "tennis ball",
        "1F3BE",
        0.06,
        (
            Fact("is hit over a net with a racket", "is served at a hundred miles an hour"),
            Fact("is used at Wimbledon", "is the thing the kids at Wimbledon pick up"),
            Fact("is a small fuzzy yellow ball", "is a felt-covered ball"),
            Fact("was served by Roger Federer", "was the tool of Serena Williams"),
        ),
        symmetric=True,
    ),
    Category(
        "boxing glove",
        "1F94A",
        0.3,
        (
            Fact("protects a fighter's fist", "is worn to hit an opponent in the ring"),
            Fact("was worn by Muhammad Ali", "covered the fists of Muhammad Ali"),
            Fact("is used for a knockout", "lands a knockout punch"),
            Fact("is laced up before a fight", "is padded for punching"),
        ),
        colors=OBJECT_COLORS,
    ),
    Category(
        "roller skate",
        "1F6FC",
        1.2,
        (
            Fact("is a shoe with four wheels", "has wheels under your foot"),
            Fact("is worn on one foot at the disco rink", "lets you glide over asphalt on your feet"),
            Fact("is strapped to the foot and used with knee pads", "should be worn with knee pads"),
            Fact("makes your feet roll", "puts wheels on your feet"),
        ),
        colors=OBJECT_COLORS,
    ),
    Category(
        "trophy",
        "1F3C6",
        3,
        (
            Fact("is given to the winner", "is held up by the champion"),
            Fact("stands in a glass case to remember a victory", "reminds a team of its victory"),
            Fact("is a golden cup with two handles", "is a cup nobody drinks from"),
            Fact("is the thing every team in the final wants", "is handed over after the final"),
        ),
        irregular_plural="trophies",
        symmetric=True,
    ),
)

TOYS = (
    Category(
        "kite",
        "1FA81",
        0.2,
        (
            Fact("flies in the wind on a string", "rises on a string on a windy day", also=("balloon",)),
            Fact("was used by Franklin in a thunderstorm", "helped Franklin to study lightning"),
            Fact("has a tail and is flown at the beach by children", "needs wind and a long string"),
            Fact("is the thing Mary Poppins sends high up in the air", "goes up to the highest height in Mary Poppins"),
        ),
        colors=OBJECT_COLORS,
    ),
    Category(
        "teddy bear",
        "1F9F8",
        0.4,
        (
            Fact("is hugged by a child in bed", "helps a child to fall asleep"),
            Fact("is a stuffed toy named after President Roosevelt", "was named after a president"),
            Fact("is a soft toy with round ears", "is a cuddly toy with button eyes"),
            Fact("is called Winnie or Paddington in children's books", "is loved by Christopher Robin"),
        ),
        symmetric=True,
    ),
    Category(
        "balloon",
        "1F388",
        0.01,
        (
            Fact("pops when a needle touches it", "bursts with a bang"),
            Fact(
                "floats away if you let go of the string",
                "rises to the ceiling when filled with helium",
                also=("kite",),
            ),
            Fact("is blown up for a party", "is inflated as decoration for a party"),
            Fact("lifts a house in the film Up", "carries an old man's house through the sky in a film"),
        ),
        colors=OBJECT_COLORS,
    ),
    Category(
        "robot",
        "1F916",
        80,
        (
            Fact("is a machine that looks like a person", "is a metal man driven by a computer"),
            Fact("is called R2-D2 or C-3PO in Star Wars", "is built to work for humans and may take over the world"),
            Fact("builds cars in a factory without getting tired", "never gets tired in a factory"),
            Fact("obeys three laws written by Asimov", "beeps and follows its program"),
        ),
        symmetric=True,
    ),
)

CLOTHING = (
    Category(
        "shirt",
        "1F455",
        0.2,
        (
            Fact("has a collar and short sleeves", "covers your chest and has sleeves", also=("coat",)),
            Fact("is ironed before a day at the office", "is buttoned up and tucked into your trousers"),
            Fact("is worn on your upper body in summer", "goes on your upper body on a warm day"),
            Fact("is the thing a footballer swaps after the match", "carries the number of a player"),
        ),
        colors=OBJECT_COLORS,
        symmetric=True,
    ),
    Category(
        "dress",
        "1F457",
        0.4,
        (
            Fact("is worn by a lady at a ball", "is the thing Cinderella got for the ball"),
            Fact("is a one-piece garment for women", "is a top and a skirt in one"),
            Fact("is white at a wedding and worn by the bride", "is chosen with care by a bride"),
            Fact("is worn with high heels to a gala", "shines on the red carpet on an actress"),
        ),
        irregular_plural="dresses",
        colors=OBJECT_COLORS,
        symmetric=True,
    ),
    Category(
        "coat",
        "1F9E5",
        1.5,
        (
            Fact("keeps your body warm in winter", "is the long warm layer you put on in winter"),
            Fact(
                "hangs in the hall and is put on before going out into the cold",
                "is left at the cloakroom of a theater",
            ),
            Fact("is long, has buttons and is worn over a suit", "is worn over all other clothes"),
            Fact("is part of a spy's look in old films", "is worn by detectives with the collar up"),
        ),
        colors=OBJECT_COLORS,
        symmetric=True,
    ),
    Category(
        "scarf",
        "1F9E3",
        0.2,
        (
            Fact("is wrapped around your neck", "keeps your throat warm"),
            Fact("is knitted by grandma for cold necks", "is a long piece of knitting"),
            Fact("is waved by football fans in the stadium", "shows a fan's team colors"),
            Fact("shows the house of a Hogwarts pupil in winter", "is striped in house colors at Hogwarts"),
        ),
        irregular_plural="scarves",
        held_out=True,
        colors=OBJECT_COLORS,
    ),
    Category(
        "boot",
        "1F462",
        0.8,
        (
            Fact("covers the foot and the lower leg", "reaches up to the knee"),
            Fact("is worn by cowboys", "has spurs if a cowboy wears it"),
            Fact("is the thing Italy looks like on the map", "has the same shape as Italy"),
            Fact("was worn by a puss in a fairy tale", "belongs to the puss of a fairy tale"),
        ),
        colors=OBJECT_COLORS,
    ),
    Category(
        "high heel",
        "1F460",
        0.3,
        (
            Fact("makes a woman look taller", "adds some inches to a lady"),
            Fact("is hard to walk in on cobblestones", "is a shoe that hurts after a long night"),
            Fact("was lost by Cinderella on the stairs", "was left on the stairs at midnight"),
            Fact("is an elegant shoe with a thin stiletto", "clicks on the floor and is worn to parties"),
        ),
        colors=OBJECT_COLORS,
    ),
    Category(
        "top hat",
        "1F3A9",
        0.3,
        (
            Fact("was worn by Abraham Lincoln", "sat on Abraham Lincoln's head"),
            Fact("is tall, black and worn with a tailcoat", "goes with a tailcoat and a cane"),
            Fact("is the place where a magician finds doves", "is waved by a magician with a wand"),
            Fact("is a token in Monopoly", "was worn by gentlemen to the opera"),
        ),
        symmetric=True,
    ),
    Category(
        "cap",
        "1F9E2",
        0.1,
        (
            Fact("is worn by baseball players", "shades a pitcher's eyes"),
            Fact("has a visor and is sometimes worn backward", "is turned backward by skaters"),
            Fact("keeps the sun out of your eyes", "shades your eyes"),
            Fact("covers the head of a trucker", "carries a logo above its visor"),
        ),
    ),
    Category(
        "crown",
        "1F451",
        1.5,
        (
            Fact("is worn by a king", "sits on the head of a queen"),
            Fact("is golden and set with jewels", "is kept in the Tower of London with other jewels"),
            Fact("is the sign of a monarch", "is put on a monarch's head by a bishop"),
            Fact("is given away at a coronation", "turns a prince into a king"),
        ),
        symmetric=True,
    ),
    Category(
        "backpack",
        "1F392",
        1,
        (
            Fact("is carried on both shoulders", "hangs from your shoulders"),
            Fact("holds a pupil's school books", "is packed by a pupil before school"),
            Fact("is used by hikers to carry their things", "is a hiker's bag"),
            Fact("has straps, zippers and side pockets", "has two straps and side pockets"),
        ),
        colors=OBJECT_COLORS,
        symmetric=True,
    ),
)
