"""Small facts in tables, from which short questions and answers are made."""

# animal: (kind of animal, young, sound or "", home, food, covering)
CREATURES = {
    "dog": ("a mammal", "puppy", "barks", "a kennel", "meat", "fur"), "cat": ("a mammal", "kitten", "meows", "a house", "mice and fish", "fur"),
    "cow": ("a mammal", "calf", "moos", "a shed", "grass", "short hair"), "horse": ("a mammal", "foal", "neighs", "a stable", "grass and oats", "short hair"),
    "sheep": ("a mammal", "lamb", "bleats", "a fold", "grass", "wool"), "pig": ("a mammal", "piglet", "grunts", "a sty", "roots and grain", "bristles"),
    "goat": ("a mammal", "kid", "bleats", "a shed", "grass and leaves", "hair"), "hen": ("a bird", "chick", "clucks", "a coop", "grain and worms", "feathers"),
    "duck": ("a bird", "duckling", "quacks", "a nest by the water", "water plants and snails", "feathers"), "goose": ("a bird", "gosling", "honks", "a nest on the ground", "grass", "feathers"),
    "owl": ("a bird", "owlet", "hoots", "a hollow tree", "mice", "feathers"), "frog": ("an amphibian", "tadpole", "croaks", "a pond", "flies and worms", "smooth, wet skin"),
    "lion": ("a mammal", "cub", "roars", "the grassland", "meat", "fur"), "wolf": ("a mammal", "pup", "howls", "a den", "meat", "fur"),
    "bear": ("a mammal", "cub", "growls", "a cave", "berries, fish and honey", "thick fur"), "fox": ("a mammal", "cub", "barks", "an earth", "mice and berries", "red fur"),
    "rabbit": ("a mammal", "kitten", "", "a burrow", "grass and clover", "soft fur"), "mouse": ("a mammal", "pup", "squeaks", "a hole", "seeds and grain", "grey fur"),
    "squirrel": ("a mammal", "kitten", "", "a nest in a tree", "nuts and seeds", "fur"), "hedgehog": ("a mammal", "hoglet", "", "a nest of leaves", "beetles and worms", "spines"),
    "beaver": ("a mammal", "kit", "", "a lodge in the water", "bark and leaves", "thick brown fur"), "otter": ("a mammal", "pup", "", "a den by the river", "fish", "thick brown fur"),
    "mole": ("a mammal", "pup", "", "a tunnel under the ground", "worms", "black velvet fur"), "bat": ("a mammal", "pup", "", "a cave or an attic", "insects", "fur, and skin on its wings"),
    "deer": ("a mammal", "fawn", "", "the forest", "leaves and grass", "short hair"), "elephant": ("a mammal", "calf", "trumpets", "the grassland", "grass and bark", "thick grey skin"),
    "whale": ("a mammal", "calf", "sings", "the sea", "tiny shrimps and fish", "smooth skin"), "dolphin": ("a mammal", "calf", "whistles", "the sea", "fish", "smooth skin"),
    "seal": ("a mammal", "pup", "barks", "the sea and the beach", "fish", "short fur"), "penguin": ("a bird", "chick", "", "the icy coast", "fish", "short, dense feathers"),
    "eagle": ("a bird", "eaglet", "screams", "a nest on a cliff", "small animals and fish", "feathers"), "swan": ("a bird", "cygnet", "", "a nest by the lake", "water plants", "white feathers"),
    "robin": ("a bird", "nestling", "sings", "a nest in a hedge", "insects and berries", "feathers"), "crow": ("a bird", "nestling", "caws", "a nest in a tall tree", "almost anything", "black feathers"),
    "bee": ("an insect", "larva", "buzzes", "a hive", "nectar and pollen", "fine hairs"), "ant": ("an insect", "larva", "", "an anthill", "seeds, insects and sweet juice", "a hard shell"),
    "butterfly": ("an insect", "caterpillar", "", "the meadow", "nectar", "tiny scales"), "spider": ("an arachnid", "spiderling", "", "a web", "flies and other insects", "fine hairs"),
    "snail": ("a mollusc", "tiny snail", "", "its own shell", "leaves", "soft skin and a shell"), "octopus": ("a mollusc", "tiny octopus", "", "a hole among the rocks", "crabs and clams", "soft skin"),
    "crab": ("a crustacean", "larva", "", "the rock pools", "almost anything it finds", "a hard shell"), "salmon": ("a fish", "fry", "", "the sea and the rivers", "insects and small fish", "scales"),
    "shark": ("a fish", "pup", "", "the sea", "fish and seals", "rough skin"), "tortoise": ("a reptile", "hatchling", "", "dry, warm land", "leaves and fruit", "a shell"),
    "snake": ("a reptile", "hatchling", "hisses", "a hole or a heap of stones", "mice and eggs", "scales"), "crocodile": ("a reptile", "hatchling", "", "a warm river", "fish and other animals", "hard scales"),
    "camel": ("a mammal", "calf", "", "the desert", "dry plants", "wool"), "monkey": ("a mammal", "infant", "chatters", "the forest", "fruit and leaves", "hair"),
    "kangaroo": ("a mammal", "joey", "", "the dry grassland", "grass", "fur"), "polar bear": ("a mammal", "cub", "", "the ice of the far north", "seals", "white fur"),
}
# job: (what they do, what they use)
JOBS = {
    "baker": ("bakes bread and cakes", "flour, yeast and an oven"), "farmer": ("grows food and keeps animals", "a tractor and a plough"), "fisherman": ("catches fish", "a boat and nets"),
    "gardener": ("looks after plants", "a spade and a watering can"), "teacher": ("helps others to learn", "books and a blackboard"), "doctor": ("helps sick people to get well", "a stethoscope and medicine"),
    "nurse": ("cares for sick people", "bandages and a kind voice"), "carpenter": ("makes things of wood", "a saw, a plane and a hammer"), "blacksmith": ("shapes hot iron", "a hammer and an anvil"),
    "tailor": ("sews clothes", "needle, thread and scissors"), "shoemaker": ("makes and mends shoes", "leather, glue and nails"), "potter": ("makes pots and bowls from clay", "a wheel and a kiln"),
    "painter": ("paints pictures or walls", "brushes and colours"), "clockmaker": ("makes and mends clocks", "tiny screwdrivers and a magnifying glass"), "lighthouse keeper": ("keeps the light burning for the ships", "a great lamp"),
    "postman": ("brings letters and parcels", "a bag and a bicycle"), "librarian": ("looks after books and lends them", "shelves and a catalogue"), "pilot": ("flies aeroplanes", "maps, instruments and a radio"),
    "astronaut": ("travels and works in space", "a spacesuit"), "astronomer": ("studies the stars", "a telescope"), "beekeeper": ("looks after bees and harvests honey", "a veil and a smoker"),
    "shepherd": ("watches over sheep", "a crook and a good dog"), "miller": ("grinds grain to flour", "millstones"), "cook": ("prepares meals", "pots, pans and a sharp knife"),
    "sailor": ("works on a ship", "ropes and sails"), "firefighter": ("puts out fires and rescues people", "hoses and ladders"), "weaver": ("makes cloth from thread", "a loom"),
    "musician": ("makes music", "an instrument"), "diver": ("works under water", "a tank of air and a mask"), "mechanic": ("repairs engines and machines", "spanners and oil"),
}
# thing: what it is used for
USES = {
    "hammer": "to drive in nails", "saw": "to cut wood", "needle": "to sew cloth", "spade": "to dig the earth", "rake": "to gather leaves and smooth the soil", "ladder": "to reach high places",
    "umbrella": "to keep dry in the rain", "lantern": "to give light in the dark", "kettle": "to boil water", "oven": "to bake bread and cakes", "spoon": "to eat soup and to stir", "sieve": "to separate fine things from coarse ones",
    "compass": "to find the directions", "map": "to find the way", "thermometer": "to measure how warm it is", "clock": "to tell the time", "scale": "to weigh things", "ruler": "to measure lengths",
    "telescope": "to see distant things", "microscope": "to see very small things", "anchor": "to keep a ship in its place", "oar": "to row a boat", "rope": "to tie and to pull", "bell": "to call people",
    "broom": "to sweep the floor", "bucket": "to carry water", "basket": "to carry fruit or bread", "candle": "to give light", "key": "to open a lock", "bridge": "to cross a river", "scissors": "to cut paper and cloth",
    "watering can": "to water plants", "wheelbarrow": "to move heavy things in the garden", "pump": "to move water", "sail": "to catch the wind", "pillow": "to rest the head", "fence": "to keep animals in or out", "loom": "to weave cloth",
}
MADE_OF = {"bread": "flour, water, salt and yeast", "butter": "cream", "cheese": "milk", "paper": "wood", "glass": "sand", "a candle": "wax", "wine": "grapes", "flour": "grain", "a brick": "clay", "chocolate": "cocoa beans",
           "a raisin": "a dried grape", "jam": "fruit and sugar", "an omelette": "eggs", "cider": "apples", "silk": "the thread of silkworms", "steel": "iron and a little carbon", "linen": "flax", "tofu": "soya beans",
           "concrete": "cement, sand, stones and water", "leather": "the skin of animals", "bronze": "copper and tin", "a snowman": "snow"}
OPPOSITES = """hot cold|big small|high low|fast slow|light dark|old young|wet dry|full empty|hard soft|loud quiet|early late|near far|open closed|happy sad|strong weak|heavy light|deep shallow|clean dirty|sweet sour|up down
left right|day night|summer winter|begin end|push pull|give take|north south|east west|brave afraid|rough smooth|long short|thick thin|wide narrow|first last|asleep awake|rich poor|above below|inside outside|always never|question answer""".replace("\n", "|")
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon", "Germany": "Berlin", "Austria": "Vienna", "Greece": "Athens", "Norway": "Oslo", "Sweden": "Stockholm", "Denmark": "Copenhagen",
            "Finland": "Helsinki", "Ireland": "Dublin", "England": "London", "Scotland": "Edinburgh", "Poland": "Warsaw", "Hungary": "Budapest", "Japan": "Tokyo", "China": "Beijing", "India": "New Delhi", "Egypt": "Cairo",
            "Kenya": "Nairobi", "Canada": "Ottawa", "Mexico": "Mexico City", "Peru": "Lima", "Iceland": "Reykjavik", "Belgium": "Brussels", "Australia": "Canberra", "Brazil": "Brasilia"}
COUNTS = {"How many legs does a spider have?": "A spider has eight legs.", "How many legs does an insect have?": "An insect has six legs.", "How many legs does a cat have?": "A cat has four legs.", "How many wings does a bee have?": "A bee has four wings.",
          "How many days are in a week?": "There are seven days in a week.", "How many months are in a year?": "There are twelve months in a year.", "How many hours are in a day?": "There are twenty-four hours in a day.",
          "How many minutes are in an hour?": "There are sixty minutes in an hour.", "How many days are in a year?": "There are three hundred and sixty-five days in a year, and one more in a leap year.",
          "How many sides does a triangle have?": "A triangle has three sides.", "How many sides does a square have?": "A square has four sides, all of the same length.", "How many sides does a hexagon have?": "A hexagon has six sides, like a cell of a honeycomb.",
          "How many arms does an octopus have?": "An octopus has eight arms.", "How many seasons are there?": "There are four seasons: spring, summer, autumn and winter.", "How many planets go around the sun?": "Eight planets go around the sun.",
          "How many colours are in a rainbow?": "People usually count seven: red, orange, yellow, green, blue, indigo and violet.", "How many strings does a violin have?": "A violin has four strings.", "How many moons does the Earth have?": "The Earth has one moon.",
          "How many letters are in the alphabet?": "There are twenty-six letters in the English alphabet.", "How many fingers are on one hand?": "There are five fingers on one hand, if you count the thumb."}
MORE = {
    "What do bees make?": "Bees make honey and wax.", "What is the largest planet?": "Jupiter is the largest planet.", "What is the smallest planet?": "Mercury is the smallest planet.", "Which planet is closest to the sun?": "Mercury is closest to the sun.",
    "Which planet is called the red planet?": "Mars is called the red planet.", "Which planet has bright rings?": "Saturn has bright rings of ice and rock.", "What is the largest animal?": "The blue whale is the largest animal that has ever lived.",
    "What is the tallest animal?": "The giraffe is the tallest animal.", "What is the fastest animal on land?": "The cheetah is the fastest animal on land.", "What is the largest bird?": "The ostrich is the largest bird.",
    "What colour do you get when you mix blue and yellow?": "Blue and yellow make green.", "What colour do you get when you mix red and yellow?": "Red and yellow make orange.", "What colour do you get when you mix red and blue?": "Red and blue make purple.",
    "What colour do you get when you mix red and white?": "Red and white make pink.", "What colour do you get when you mix black and white?": "Black and white make grey.", "Where does the sun rise?": "The sun rises in the east.", "Where does the sun set?": "The sun sets in the west.",
    "What is the longest river?": "The Nile and the Amazon are the longest rivers.", "What is the highest mountain?": "Mount Everest is the highest mountain on Earth.", "What is the largest ocean?": "The Pacific is the largest ocean.", "What do plants need to grow?": "Plants need water, light, air and good soil.",
    "What do cows give us?": "Cows give us milk.", "What do sheep give us?": "Sheep give us wool.", "What do hens lay?": "Hens lay eggs.", "What do silkworms make?": "Silkworms make silk.", "At what temperature does water freeze?": "Water freezes at zero degrees Celsius.", "At what temperature does water boil?": "Water boils at one hundred degrees Celsius.",
    "Which bird cannot fly but swims well?": "The penguin cannot fly, but it swims very well.", "Which animal carries its house on its back?": "The snail carries its house on its back.", "What is frozen water called?": "Frozen water is called ice.", "What is a baby star called?": "A star that is still forming is called a protostar.",
    "What do we call a person who writes poems?": "A person who writes poems is called a poet.", "What is the nearest star?": "The nearest star is the sun.", "What do caterpillars turn into?": "Caterpillars turn into butterflies or moths.", "What do tadpoles turn into?": "Tadpoles turn into frogs or toads.",
    "What shines at night and changes its shape?": "The moon shines at night and seems to change its shape.", "Who was the first person on the moon?": "Neil Armstrong was the first person on the moon, in 1969.", "Which metal is liquid at room temperature?": "Mercury is liquid at room temperature.", "What gas do we breathe in to live?": "We need oxygen, which is part of the air.",
    "Which month is the shortest?": "February is the shortest month.", "What do you call a group of wolves?": "A group of wolves is called a pack.", "What do you call a group of sheep?": "A group of sheep is called a flock.", "What do you call a group of fish?": "A group of fish is called a shoal.", "What do you call a group of cows?": "A group of cows is called a herd.",
    "What do you call a house made of snow?": "A house made of blocks of snow is called an igloo.", "What is a young tree called?": "A young tree is called a sapling.", "Which fruit has its seeds on the outside?": "The strawberry has its seeds on the outside.", "Do penguins live at the North Pole?": "No, penguins live in the southern half of the Earth.",
}


def _a(word):
    return ("an " if word[0] in "aeiou" else "a ") + word


def small_fact(rng):
    """One (question, answer)."""
    pick = rng.random()
    if pick < 0.34:
        name = rng.choice(list(CREATURES))
        kind, young, sound, home, food, cover = CREATURES[name]
        the = _a(name)
        cap = the[0].upper() + the[1:]
        forms = [(f"What is a young {name} called?", f"A young {name} is called {_a(young)}."), (f"What kind of animal is {the}?", f"{cap} is {kind}."),
                 (f"What does {the} eat?", f"{cap} eats {food}."), (f"Where does {the} live?", f"{cap} lives in {home}."), (f"What covers the body of {the}?", f"The body of {the} is covered with {cover}."),
                 (f"Is {the} {kind}?", f"Yes, {the} is {kind}.")]
        if "," in cover or "shell" in home:
            del forms[4]
        if sound:
            forms.append((f"What sound does {the} make?", f"{cap} {sound}."))
        if kind != "a bird":
            forms.append((f"Is {the} a bird?", f"No, {the} is {kind}."))
        return rng.choice(forms)
    if pick < 0.44:
        job = rng.choice(list(JOBS))
        does, uses = JOBS[job]
        return rng.choice([(f"What does {_a(job)} do?", f"{_a(job).capitalize()} {does}."), (f"What does {_a(job)} use?", f"{_a(job).capitalize()} uses {uses}."),
                           (f"Who {does}?", f"{_a(job).capitalize()} {does}.")])
    if pick < 0.52:
        thing, use = rng.choice(list(USES.items()))
        if thing == "scissors":
            return "What are scissors for?", f"Scissors are used {use}."
        return rng.choice([(f"What is {_a(thing)} for?", f"{_a(thing).capitalize()} is used {use}."), (f"What do we use {_a(thing)} for?", f"We use {_a(thing)} {use}.")])
    if pick < 0.57:
        thing, stuff = rng.choice(list(MADE_OF.items()))
        return f"What is {thing} made of?", f"{thing[0].upper() + thing[1:]} is made of {stuff}." if thing != "a raisin" else "A raisin is a dried grape."
    if pick < 0.63:
        a, b = rng.choice(OPPOSITES.split("|")).split()
        if rng.random() < 0.5 and b != "light":
            a, b = b, a
        if a == "light":
            return "What is the opposite of light?", "Dark is the opposite of light, and so is heavy."
        return f"What is the opposite of {a}?", f"The opposite of {a} is {b}."
    if pick < 0.71:
        a, b = rng.randrange(11), rng.randrange(10)
        if rng.random() < 0.5:
            return f"What is {NUMBERS[a]} plus {NUMBERS[b]}?", f"{NUMBERS[a].capitalize()} plus {NUMBERS[b]} is {NUMBERS[a + b]}."
        if rng.random() < 0.6:
            return f"What is {NUMBERS[a + b]} minus {NUMBERS[b]}?", f"{NUMBERS[a + b].capitalize()} minus {NUMBERS[b]} is {NUMBERS[a]}."
        a = rng.randrange(20)
        return f"What number comes after {NUMBERS[a]}?", f"{NUMBERS[a + 1].capitalize()} comes after {NUMBERS[a]}."
    if pick < 0.76:
        names = rng.choice([DAYS, MONTHS])
        i = rng.randrange(len(names))
        now, then = names[i], names[(i + 1) % len(names)]
        word = "day" if names is DAYS else "month"
        return rng.choice([(f"Which {word} comes after {now}?", f"{then} comes after {now}."), (f"Which {word} comes before {then}?", f"{now} comes before {then}.")])
    if pick < 0.83:
        country, city = rng.choice(list(CAPITALS.items()))
        return f"What is the capital of {country}?", f"The capital of {country} is {city}."
    if pick < 0.90:
        return rng.choice(list(COUNTS.items()))
    return rng.choice(list(MORE.items()))
