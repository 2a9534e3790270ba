"""Who the stories are about: characters, their names and traits, where they live and what they own."""

GIRLS = """Fern Nora Hazel Ivy Willow Clover Poppy Tilly Ada Mira Juniper Maple Luna Wren Olive Pearl Ruby Daisy Bryony
Elsie Greta Heidi Ines Kira Lottie Mabel Nell Opal Petra Rosa Saffron Tansy Una Vera Winnie Zara Amber Bella Cora Dora
Edith Flora Gwen Hettie Iris Josie Kate Lena Molly Nina Odette Pippa Rhea Sorrel Thea Vivi Marigold Maya Lucy Agnes
Bea Celia Esme Freya Grace Holly Jenny Lily May Phoebe Sage Stella Sylvie""".split()
BOYS = """Bramble Oskar Finn Otto Rowan Moss Barnaby Tobias Jasper Milo Felix Hugo Linus Ned Oliver Percy Quinn Rufus
Silas Theo Victor Walter Alfie Basil Caspar Dexter Emil Fergus George Henry Igor Jonas Kip Leo Max Nico Oscar Pip Ralph
Sam Tom Bruno Arlo Cedric Edgar Gus Hamish Ivan Jack Kasper Louis Magnus Noah Piers Reed Simon Thorn Ash Birch Flint
Ben Casper Elmer Frank Harry Jim Ludo Monty Nils Peter Rory Stan Tim Wilf""".split()

# What a helper may be good at, as a clause that follows "who", and the way a story tells it being used.
WOOD = ["in a [snug|tidy|warm] burrow under [an oak|a beech|a hawthorn hedge]", "[in|inside] a hollow [oak|elm|log]",
        "between the roots of [an old beech|a great oak]", "in a little [round|wooden] house under [the ferns|a hazel bush]"]
NEST = ["in a nest high in [an elm|a tall pine|an old oak]", "in a [hollow|hole] near the top of [an ash tree|a dead oak]"]
WATER = ["in a [den|dry hollow] beside [the river|a slow stream|the mill pond]", "on the bank of [the river|a clear stream]"]
FARM = ["in a [red|wooden|draughty] barn on a small farm", "on a farm [at the end of a long lane|between two hills]"]
HOUSE = ["in a [small|crooked|white|narrow] [house|cottage] [with a blue door|with a crooked chimney|behind a stone wall]",
         "in a [tiny|bright|quiet] cottage [near the mill|by the well|at the end of the lane]"]
CAVE = ["in a [dry|deep|warm] cave [on a hill|behind a waterfall]"]
GROVE = ["in a [shady|quiet] grove of tall trees"]
SEA = ["in a [cave|hollow|gap] under [the cliffs|a grey rock|an old pier]", "[near|beside] a reef [of red coral|full of small bright fish]"]

# kind: (world, homes, favourite food, skills)
ANIMALS = {
    "fox": ("wood", WOOD, "blackberries", "smell run"), "hedgehog": ("wood", WOOD, "windfall apples", "smell small"),
    "badger": ("wood", WOOD, "mushroom pie", "dig strong"), "squirrel": ("wood", NEST, "hazelnuts", "climb"),
    "rabbit": ("wood", WOOD, "clover", "dig run"), "hare": ("wood", WOOD, "sweet grass", "run"),
    "mole": ("wood", WOOD, "root soup", "dig"), "mouse": ("wood", WOOD, "barley cakes", "small gnaw climb"),
    "dormouse": ("wood", WOOD, "honeysuckle", "small climb"), "otter": ("wood", WATER, "river trout", "swim"),
    "beaver": ("wood", WATER, "willow bark", "swim gnaw"), "owl": ("wood", NEST, "seed cake", "fly dark"),
    "robin": ("wood", NEST, "red berries", "fly small"), "wren": ("wood", NEST, "tiny seeds", "fly small"),
    "crow": ("wood", NEST, "walnuts", "fly"), "magpie": ("wood", NEST, "cherries", "fly"),
    "frog": ("wood", WATER, "water cress", "swim"), "toad": ("wood", WATER, "mushrooms", "swim dark"),
    "tortoise": ("wood", WOOD, "lettuce", "strong"), "deer": ("wood", WOOD, "young leaves", "run"),
    "bear": ("wood", WOOD, "honey", "strong climb"), "snail": ("wood", WOOD, "cabbage leaves", "small"),
    "bat": ("wood", NEST, "ripe plums", "fly dark"), "weasel": ("wood", WOOD, "eggs", "small run"),
    "wolf": ("wood", WOOD, "mutton stew", "smell run"), "dragon": ("wood", CAVE, "roasted chestnuts", "fly strong"),
    "lion": ("wood", CAVE, "a good stew", "strong run"), "elephant": ("wood", GROVE, "ripe bananas", "strong"),
    "monkey": ("wood", GROVE, "sweet figs", "climb"), "panda": ("wood", GROVE, "bamboo shoots", "climb strong"),
    "ant": ("wood", WOOD, "sugar crumbs", "small dig"), "beetle": ("wood", WOOD, "sweet sap", "small"),
    "unicorn": ("wood", GROVE, "silver clover", "run"), "raccoon": ("wood", WOOD, "sweetcorn", "climb dark"), "porcupine": ("wood", WOOD, "pine bark", "climb"),
    "horse": ("farm", FARM, "oats and apples", "run strong"), "goose": ("farm", FARM, "green corn", "fly swim"), "duck": ("farm", FARM, "duckweed", "swim fly"),
    "hen": ("farm", FARM, "yellow corn", "small"), "goat": ("farm", FARM, "thistles", "climb strong"),
    "donkey": ("farm", FARM, "carrots", "strong"), "pig": ("farm", FARM, "turnips", "smell strong"),
    "lamb": ("farm", FARM, "daisies", "run"), "pony": ("farm", FARM, "oats", "run strong"),
    "cow": ("farm", FARM, "meadow hay", "strong"), "cat": ("farm", FARM, "warm milk", "dark climb"),
    "dog": ("farm", FARM, "meat and gravy", "smell run"), "calf": ("farm", FARM, "buttercups", "run"),
    "seal": ("sea", SEA, "herring", "swim"), "dolphin": ("sea", SEA, "mackerel", "swim"),
    "crab": ("sea", SEA, "seaweed", "small dig"), "octopus": ("sea", SEA, "clams", "swim strong"),
    "turtle": ("sea", SEA, "sea grass", "swim"), "whale": ("sea", SEA, "tiny shrimps", "swim strong"),
    "seahorse": ("sea", SEA, "tiny shrimps", "small swim"), "penguin": ("sea", SEA, "silver fish", "swim"),
    "gull": ("sea", SEA, "sprats", "fly"), "pelican": ("sea", SEA, "fresh fish", "fly swim"),
}
# kind: (gender or "", world, work as a past-tense clause)
HUMANS = {
    "girl": ("f", "village", ""), "boy": ("m", "village", ""), "baker": ("", "village", "baked bread before sunrise"),
    "gardener": ("", "village", "grew beans and roses"), "clockmaker": ("", "village", "mended every clock in the village"),
    "shepherd": ("", "village", "watched over forty sheep"), "miller": ("", "village", "ground the village's wheat"),
    "beekeeper": ("", "village", "looked after nine hives"), "tailor": ("", "village", "sewed coats with small, even stitches"),
    "potter": ("", "village", "made bowls from river clay"), "carpenter": ("", "village", "built tables, boats and doors"),
    "painter": ("", "village", "painted signs for all the shops"), "librarian": ("", "village", "knew where every book belonged"),
    "cook": ("", "village", "made soup for anyone who knocked"), "shoemaker": ("", "village", "mended boots by the window"),
    "sailor": ("", "coast", "knew the names of all the winds"), "fisherman": ("m", "coast", "went out with the morning tide"),
    "lighthouse keeper": ("", "coast", "lit the great lamp each evening"), "boat builder": ("", "coast", "shaped planks with steam and patience"),
    "ferryman": ("m", "coast", "rowed people across the bay"), "astronaut": ("", "space", "looked after a small station"),
    "princess": ("f", "village", "preferred muddy boots to golden shoes"), "prince": ("m", "village", "liked the stables better than the throne room"),
    "knight": ("", "village", "polished an old suit of armour every Sunday"), "wizard": ("m", "village", "knew forty spells, and used three of them"),
    "witch": ("f", "village", "brewed tea against every kind of cough"), "king": ("m", "village", "ruled a very small kingdom"),
    "queen": ("f", "village", "ruled a very small kingdom"), "teacher": ("", "village", "taught all the children to read"),
    "doctor": ("", "village", "visited the sick in all weathers"), "pirate": ("", "coast", "had never robbed anyone of anything but time"),
    "farmer": ("", "village", "grew barley and potatoes"), "postman": ("m", "village", "brought letters to the farthest farm"),
    "inventor": ("", "village", "built odd and useful machines"), "weaver": ("", "village", "wove cloth in many colours"),
    "blacksmith": ("", "village", "shod horses and mended ploughs"), "astronomer": ("", "village", "counted the stars on clear nights"),
}
ROBOTS = {
    "robot": ("space", "[watered the plants in a glass dome|sorted bolts in an old workshop|swept the floor of a quiet station]"),
    "little robot": ("space", "[checked the pipes of a moon base|carried tea to the astronauts|counted the stones on a red hill]"),
    "repair robot": ("space", "[mended pumps and lamps|tightened every loose screw on the station]"),
    "garden robot": ("space", "[grew tomatoes under a glass dome|looked after the lettuces of a moon base]"),
}

# trait: (how it shows, how the end of a story remembers it)
TRAITS = {
    "curious": ("{he} [asked more questions in a day than others asked in a year|wanted to know the reason for everything]",
                "{hn}, who was as curious as ever, already had a new question"),
    "shy": ("{he} [spoke so softly that others had to lean close to hear|liked to listen more than to talk]",
            "{hn} was still a little shy, but now {he} had a friend to be shy with"),
    "patient": ("{he} [never hurried, and never gave up|could wait a whole afternoon without complaining]",
                "{hn}'s patience had been worth more than hurry"),
    "cheerful": ("{he} [hummed while {he} worked, even on grey days|had a kind word for everyone]",
                 "{hn} hummed all the way home"),
    "stubborn": ("once {he} had an idea, [nobody could talk {him} out of it|{he} held on to it like a burr]",
                 "everyone agreed that being stubborn is sometimes a good thing"),
    "careful": ("{he} [looked twice before every step|always put things back where they belonged]",
                "{hn}, careful as always, checked everything twice before going to bed"),
    "forgetful": ("{he} [tied knots in a string to remember things, and then forgot what the knots were for|often left {his} supper on the stove]",
                  "this was one thing that {hn} never forgot"),
    "kind": ("{he} [could not pass anyone in trouble without stopping|shared whatever {he} had]",
             "kindness, they said, had found its way home to {hn}"),
    "proud": ("{he} [did not like to ask for help|thought that nobody could do things as well as {he} did]",
              "{hn} was not too proud to say thank you"),
    "brave": ("{he} [was not afraid of wind or thunder|went first when the others held back]",
              "{hn} had learned that even the brave need friends"),
    "clever": ("{he} [could find an answer to almost any riddle|liked to think before {he} acted]",
               "{hn} said that two clever heads are better than one"),
    "lonely": ("{he} [talked to the clouds because nobody else was near|often set two cups on the table, just in case]",
               "{hn} was not lonely any more"),
    "gentle": ("{he} [stepped around ants and snails|had quiet hands and a soft voice]",
               "it was {hn}'s gentle way that they remembered best"),
    "busy": ("{he} [made a new list every morning|was always halfway through three jobs]",
             "for once, busy {hn} sat still and simply enjoyed the evening"),
    "playful": ("{he} [turned every chore into a game|raced {his} own shadow down the path]",
                "{hn} made a game of it, and soon everyone wanted to play"),
    "thoughtful": ("{he} [noticed small things that others missed|liked to sit and watch the light change]",
                   "{hn} thought about it for a long time, and smiled"),
    "sleepy": ("{he} [yawned from breakfast to supper|could fall asleep in the middle of a word]",
               "{hn} yawned, smiled, and was asleep before anyone could say good night"),
    "small": ("{he} [had to stand on a pebble to see over the grass|was often overlooked in a crowd]",
              "nobody ever called {hn} too small again"),
}

# noun: (adjectives, what it is for, ways to lose it)
OBJECTS = {
    "lantern": ("brass old little", "to light the path at night", "left hole"), "kite": ("red paper striped", "to play with the wind", "high"),
    "bell": ("silver bronze little", "to call everyone to supper", "hole left"), "key": ("iron rusty tiny", "to open the old garden gate", "hole"),
    "map": ("faded folded old", "to find the way across the hills", "high left"), "compass": ("brass small old", "to find the north", "hole left"),
    "umbrella": ("green spotted big", "to keep the rain off", "water high"), "drum": ("round painted little", "to beat time for the dancers", "water left"),
    "flute": ("wooden silver slender", "to play tunes in the evening", "hole left"), "whistle": ("tin wooden shiny", "to call friends from far away", "hole"),
    "basket": ("willow round sturdy", "to carry apples home", "water left"), "teapot": ("blue round chipped", "to pour tea for guests", "left"),
    "blanket": ("woollen patchwork soft", "to keep warm on winter nights", "high water left"), "scarf": ("red knitted long", "to keep the cold wind out", "high water"),
    "rope": ("long strong coiled", "to pull heavy things uphill", "left"), "spoon": ("wooden silver long", "to stir the soup", "hole left"),
    "telescope": ("brass long old", "to look at the stars", "left"), "clock": ("small wooden ticking", "to wake up in time", "left"),
    "toy boat": ("blue wooden little", "to sail on the pond", "water"), "book": ("thick old picture", "to read from in the evening", "left"),
    "ring": ("gold plain thin", "to remember a dear friend", "hole"), "hat": ("straw tall green", "to keep the sun off", "high water"),
    "watering can": ("tin green dented", "to water the beans", "left water"), "paintbrush": ("thin soft fine", "to paint the morning sky", "hole left"),
    "candle": ("white beeswax tall", "to brighten the long evenings", "left"), "ball": ("red leather bouncing", "to play with after lunch", "high water"),
    "shell": ("white spiral pink", "to listen to the sea", "hole left"), "feather": ("blue long white", "to write letters with", "high water"),
    "coin": ("gold old shiny", "to buy flour at the market", "hole"), "music box": ("small painted wooden", "to fall asleep to", "left"),
    "spade": ("small iron good", "to dig the garden", "left"), "bucket": ("wooden tin old", "to fetch water from the well", "water left"),
    "sled": ("fast wooden red", "to slide down the snowy hill", "left"), "button": ("brass round blue", "to close a winter coat", "hole"),
    "letter": ("sealed folded long", "to remember an old friend", "high water left"), "jar of honey": ("small golden full", "to sweeten the porridge", "left"),
    "balloon": ("yellow big blue", "to look at as it danced on its string", "high"), "pair of boots": ("sturdy brown little", "to walk through deep mud", "left"),
    "broom": ("birch old long", "to sweep the doorstep", "left"), "violin": ("brown old fine", "to play at weddings", "left"),
}

# world: (where it is, spots to search, whom one meets there, a path)
WORLDS = {
    "wood": (["at the edge of a quiet wood", "deep in a green forest", "in a valley full of ferns", "on a hill of tall pines"],
             ["by the mill pond", "under the old bridge", "beside the hollow log", "at the foot of the waterfall", "near the stone well",
              "behind the bramble hedge", "beneath the great oak", "in the mossy clearing"], "the forest path"),
    "farm": (["between two green hills", "at the end of a long lane", "near a slow brown river", "beside a field of barley"],
             ["behind the hay barn", "by the duck pond", "under the apple trees", "next to the old plough", "near the garden wall",
              "beside the pump", "at the gate of the meadow", "under the cart"], "the farm lane"),
    "village": (["in a village by a river", "in a small town in the hills", "in a village with one narrow street", "at the edge of a busy market town"],
                ["by the fountain", "behind the bakery", "under the stone bridge", "near the church steps", "beside the mill wheel",
                 "at the corner of the market square", "in the park", "next to the old well"], "the village street"),
    "coast": (["on a windy coast", "beside a small harbour", "on an island with one tall lighthouse", "in a bay of grey stones"],
              ["under the wooden pier", "beside the upturned boat", "among the rock pools", "behind the fish market", "at the foot of the lighthouse",
               "near the coils of rope", "on the harbour wall", "in the dunes"], "the path along the cliffs"),
    "sea": (["in a wide green bay", "off a rocky coast", "in the warm sea around an island", "where a river meets the sea"],
            ["under the wooden pier", "beside a sunken ship", "in the kelp forest", "among the rock pools", "near the coral arch",
             "behind the grey rock", "in the shallows", "below the lighthouse"], "the edge of the reef"),
    "space": (["on a small station that circled a blue planet", "on a moon base with round windows", "on a quiet red planet", "in a glass dome on the moon"],
              ["behind the water tanks", "under the solar panels", "beside the airlock", "in the engine room", "near the tomato beds",
               "next to the radio mast", "in the long corridor", "under the landing ramp"], "the long corridor"),
}
SEASONS = {
    "spring": ["the hedges were turning green", "the first swallows had come back", "there was a smell of rain and new grass"],
    "summer": ["the days were long and warm", "bees hummed in the clover", "the air smelled of hay"],
    "autumn": ["the leaves were turning gold", "the mornings smelled of apples", "mist lay on the fields at dawn"],
    "winter": ["snow lay on every roof", "the puddles had frozen hard", "the nights were long and clear"],
}
PRONOUNS = {"f": ("she", "her", "her", "herself"), "m": ("he", "him", "his", "himself")}


def held_out(kind, thing):
    """Character-object pairs that the training split never contains: about one in sixteen."""
    code = 7
    for ch in kind + "/" + thing:
        code = (code * 131 + ord(ch)) % 1000003
    return code % 16 == 3


class Person:
    """One character: a kind, a name that suits it, a trait, a home."""

    def __init__(self, rng, kind, taken):
        self.kind = kind
        gender = ""
        if kind in ANIMALS:
            self.world, homes, self.food, skills = ANIMALS[kind]
            self.home, self.skills, self.work = rng.choice(homes), skills.split(), ""
            if kind in ("cow", "hen"):
                gender = "f"
        elif kind in HUMANS:
            gender, self.world, self.work = HUMANS[kind]
            self.home, self.skills = rng.choice(HOUSE), ["hands"]
            self.food = rng.choice(["warm bread", "apple pie", "vegetable soup", "pancakes", "plum cake", "toasted cheese"])
            if self.world == "space":
                self.home = "in a small round cabin"
        else:
            self.world, self.work = ROBOTS[kind]
            self.home, self.skills, self.food = "in a corner with a charging cable", ["hands", "strong"], "a fresh battery"
        self.gender = gender or rng.choice("fm")
        pool = [n for n in (GIRLS if self.gender == "f" else BOYS) if n not in taken]
        self.name = rng.choice(pool)
        self.trait = rng.choice(list(TRAITS))
        self.animal = kind in ANIMALS
        self.robot = kind in ROBOTS

    def names(self, prefix):
        """The variables that templates know this character by."""
        he, him, his, himself = PRONOUNS[self.gender]
        main = prefix == "h"
        return {
            prefix + "n": self.name, prefix + "k": self.kind, prefix + "adj": self.trait, prefix + "food": self.food,
            "he" if main else prefix + "he": he, "him" if main else prefix + "him": him,
            "his" if main else prefix + "his": his, "himself" if main else prefix + "self": himself,
            prefix + "home": self.home,
        }
