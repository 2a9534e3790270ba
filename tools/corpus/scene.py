"""A scene holds what one story knows: its characters, its thing, its place, its paragraphs and what may be asked."""

from .grammar import capital, render
from .people import ANIMALS, HUMANS, OBJECTS, ROBOTS, SEASONS, WORLDS, Person, TRAITS, held_out

# How a skill is told: what the character can do, and the deed itself.
SKILLS = {
    "fly": "can fly", "climb": "is the best climber for miles around", "dig": "can dig faster than anyone",
    "swim": "swims like a fish", "dark": "can see well in the dark", "smell": "has the best nose for miles around",
    "strong": "is stronger than anyone", "small": "is small enough to slip through any gap",
    "gnaw": "can bite through wood", "run": "is the fastest runner of all",
}
BIG = {"whale", "bear", "cow", "pony", "donkey", "deer", "dolphin", "pelican", "dragon", "lion", "elephant", "panda", "unicorn", "horse", "wolf", "king", "queen", "knight"}
SPRINGS = ["One [fine|grey|windy|bright] morning", "One [cool|warm|still] afternoon", "One day", "Early one morning", "One evening"]


class Scene:
    """Writes one story; a plot fills it."""

    def __init__(self, rng, worlds, kind=None, thing=None, split="train", objects=None):
        self.rng = rng
        self.split = split
        self.paragraphs, self.questions, self.title, self.themes = [], [], "", []
        kind = kind or self.pick_kind(worlds)
        self.hero = Person(rng, kind, ())
        if kind in BIG and self.hero.trait == "small":
            self.hero.trait = "gentle"
        self.world = self.hero.world
        self.taken = [self.hero.name]
        self.kinds = [kind]
        thing = thing or self.pick_thing(kind, objects)
        adjectives = OBJECTS[thing][0].split()
        shows, remembers = TRAITS[self.hero.trait]
        places, spots, path = WORLDS[self.world]
        spots = rng.sample(spots, 4)
        season = rng.choice(list(SEASONS))
        self.names = {
            "obj": thing, "oadj": rng.choice(adjectives), "use": OBJECTS[thing][1], "shows": shows, "remembers": remembers,
            "place": rng.choice(places), "path": path, "season": season, "sign": rng.choice(SEASONS[season]),
            "one": rng.choice(SPRINGS), "s1": spots[0], "s2": spots[1], "s3": spots[2], "s4": spots[3],
        }
        self.names.update(self.hero.names("h"))

    def pick_kind(self, worlds):
        """A hero for one of the worlds."""
        pool = [k for k in ANIMALS if ANIMALS[k][0] in worlds]
        pool += [k for k in HUMANS if HUMANS[k][1] in worlds] + [k for k in ROBOTS if ROBOTS[k][0] in worlds]
        return self.rng.choice(pool)

    def pick_thing(self, kind, objects):
        """A thing for the hero; the pairs held out of training are met in the "composition" split alone."""
        pool = list(objects or OBJECTS)
        wanted = [o for o in pool if held_out(kind, o) == (self.split == "composition")]
        return self.rng.choice(wanted or pool)

    def cast(self, prefix, skill=None, kinds=None):
        """Brings in another character of the same world, one with a certain skill if asked for."""
        if kinds is None:
            world = {"space": "space"}.get(self.world, self.world)
            if world in ("village", "coast") and skill is None:
                kinds = [k for k in HUMANS if HUMANS[k][1] in (world, "village")]
            elif world == "space" and skill is None:
                kinds = list(ROBOTS) + ["astronaut"]
            else:
                near = {"village": ("farm", "wood"), "coast": ("sea", "farm"), "space": ("space",), "sea": ("sea",),
                        "farm": ("farm", "wood"), "wood": ("wood",)}[world]
                kinds = [k for k in ANIMALS if ANIMALS[k][0] in near and (skill is None or skill in ANIMALS[k][3].split())]
                if not kinds:
                    kinds = ["robot"]
        kinds = [k for k in kinds if k not in self.kinds] or kinds
        person = Person(self.rng, self.rng.choice(kinds), self.taken)
        self.taken.append(person.name)
        self.kinds.append(person.kind)
        self.names.update(person.names(prefix))
        self.names[prefix + "can"] = SKILLS.get(skill, "")
        return person

    def set(self, **names):
        """Adds variables; a value may be a template or a list to choose from."""
        for name, value in names.items():
            if isinstance(value, (list, tuple)):
                value = self.rng.choice(value)
            self.names[name] = value

    def fix(self, **names):
        """Adds variables whose alternatives are decided now, so that every use reads the same."""
        for name, value in names.items():
            if isinstance(value, (list, tuple)):
                value = self.rng.choice(value)
            text = render(self.rng, value, self.names)
            self.names[name] = text[:1].lower() + text[1:] if value[:1].islower() or value[:2] == "@a" else text

    def p(self, template):
        """Adds a paragraph."""
        self.paragraphs.append(render(self.rng, template, self.names))

    def ask(self, question, answer):
        """Adds a question that the story answers."""
        self.questions.append((capital(render(self.rng, question, self.names)), capital(render(self.rng, answer, self.names))))

    def head(self, template, *themes):
        """Sets the title and the subjects."""
        self.title = render(self.rng, template, self.names)
        self.themes = list(themes)

    def coin(self, chance=0.5):
        """True with this chance."""
        return self.rng.random() < chance

    def intro(self, more=""):
        """The first paragraph: who, where, what kind of person."""
        rng, hero = self.rng, self.hero
        if hero.robot:
            forms = [
                "{place}, there [was|worked|lived] @a {hadj} {hk} [named|called] {hn}.",
                "{hn} was @a {hadj} {hk} who worked {place}.",
                "Once upon a time, {place}, there was @a {hk} [called|named] {hn}.",
                "Far away, {place}, @a {hadj} {hk} named {hn} [looked out at the stars|rolled along on three small wheels].",
                "There was once @a {hk} called {hn}, who lived {place}.",
            ]
            tail = "Every day {he} " + hero.work + "."
        else:
            forms = [
                "Once upon a time, there [was|lived] @a {hadj} {hk} [named|called] {hn}. {he} lived {hhome}, {place}.",
                "Once upon a time, {place}, there lived @a {hadj} {hk} [named|called] {hn}.",
                "{place}, there [once lived|lived] @a {hk} [named|called] {hn}.",
                "There was once @a {hk} called {hn}, who lived {hhome}.",
                "{hn} was @a {hadj} {hk} who lived {hhome}, {place}.",
                "{place}, everyone knew {hn} the {hk}.",
                "Long ago, {place}, there lived @a {hadj} {hk} [whose name was|named] {hn}.",
                "Once there was @a {hadj} {hk} who lived {hhome}. {his} name was {hn}.",
                "It was {season}, and {sign}. {place}, @a {hk} [named|called] {hn} [was looking out at the day|was up early|was sweeping {his} floor].",
                "A [long|little] while ago, @a {hadj} {hk} [named|called] {hn} lived {hhome}.",
                "@a {hadj} {hk} [named|called] {hn} lived {hhome}, {place}.",
            ]
            if self.world == "sea":
                forms = [f.replace("sweeping {his} floor", "resting near the surface") for f in forms]
            if hero.work and rng.random() < 0.7:
                tail = "{he} " + hero.work + ", and {shows}."
            elif hero.animal and rng.random() < 0.3:
                tail = "{he} [loved|liked nothing better than] {hfood}, and {shows}."
            else:
                tail = rng.choice(["{shows}.", "{shows}.", ""])
        form = rng.choice(forms)
        text = form + " " + tail + " " + more
        if text.startswith("{place}"):
            text = "{Place}" + text[7:]
        self.p(text)

    def close(self, template):
        """The last paragraph; now and then the hero's nature is remembered."""
        if self.coin(0.35):
            template += " And {remembers}."
        self.p(template)

    def text(self, title=False):
        """The finished story."""
        body = "\n\n".join(self.paragraphs)
        return self.title + "\n\n" + body if title else body
