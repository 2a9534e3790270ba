"""Plots, first part. Each takes a scene and writes a story whose end answers its beginning."""

from .people import OBJECTS


def with_way(way):
    """The things that can be lost in a certain way."""
    return [o for o in OBJECTS if way in OBJECTS[o][2].split()]


def lost_and_found(s):
    """The hero lost a thing, looks for it, and finds it where the beginning left it."""
    s.fix(reason=["to tie a boot", "to watch a beetle", "to eat a sandwich", "to listen to a bird"] if not s.hero.animal else
          ["to watch a beetle", "to scratch an ear", "to listen to a song", "to talk to an old friend"])
    s.cast("f")
    s.intro("{his} favourite thing in the world was @a {oadj} {obj}, which {he} used {use}.")
    s.p("{one}, {hn} [took the {obj} along on a walk|carried the {obj} to a friend's house and back]. On the way {he} stopped {s1} {reason}, "
        "and [put the {obj} down for a moment|laid the {obj} beside {him}]. [Then a cloud came over, and {he} hurried home without it|"
        "Then {he} remembered {his} supper, and ran home without it].")
    s.p("The next [day|morning], {hn} [wanted {use}|needed the {obj}]. [{he} looked on the shelf, but the {obj} was not there|"
        "{he} reached for the {obj}, but found only dust|{he} looked in the corner, but the corner was empty]. [\"Oh no,\" said {hn}. \"My {obj} is gone!\"|"
        "\"Where can it be?\" {he} [cried|whispered]. \"I had it yesterday.\"]")
    s.p("{hn} [searched|looked] {s2}, [but there was nothing but old leaves|but found only a lost button|but it was not there]. {he} [searched|looked] {s3}, "
        "and it was not there either. [At last {he} sat down and sighed. |]Then {hn} met {fn} the {fk}.")
    s.p("\"[Why do you look so sad|What is the matter|What are you looking for]?\" asked {fn}. \"I have lost my {obj},\" said {hn}. "
        "\"[Think back|Close your eyes and think],\" said {fn}. \"[Where did you stop|Where did you rest] yesterday?\" {hn} thought. "
        "\"I stopped {s1},\" {he} said slowly, \"{reason}.\"")
    s.p("[So the two of them|Together they] [hurried|went back] along {path}, and [there it was, just where {hn} had left it: the {oadj} {obj}, {s1}|"
        "there, {s1}, lay the {oadj} {obj}, wet with dew but quite safe].")
    s.close("[\"Thank you, {fn},\" said {hn}. \"You did not find my {obj}, but you helped me remember.\"|{hn} thanked {fn} with all {his} heart, and that evening the two friends shared {hfood}.] "
            "[From that day on|After that], {hn} always looked behind {him} before {he} walked on.")
    s.head("[The Lost {Obj}|{Hn} and the {Oadj} {Obj}|Where Is the {Obj}?]", "losing things", "remembering", "friendship")
    s.ask("What did {hn} lose?", "{hn} lost @a {oadj} {obj}.")
    s.ask("Where was the {obj}?", "The {obj} was {s1}, where {hn} had left it.")
    s.ask("Who helped {hn}?", "{fn} the {fk} helped {him}.")


def out_of_reach(s):
    """A thing ends up where the hero cannot get it; the friend whose skill fits gets it back."""
    way = s.rng.choice([w for w in ("high", "hole", "water") if w in OBJECTS[s.names["obj"]][2].split()] or ["high"])
    skill = {"high": ["fly", "climb"], "hole": ["small", "dig"], "water": ["swim"]}[way]
    skill = s.rng.choice(skill)
    s.cast("f", skill)
    s.cast("g")
    if way == "high":
        s.fix(event=["a gust of wind [snatched|took] the {obj} and carried it up into the top of a tall [pine|ash tree|poplar]",
                     "the wind [picked up|caught] the {obj} and hung it on the highest branch of [an old oak|a bare elm]"], spot=["in the tree", "on the high branch"])
        tries = ["{hn} jumped as high as {he} could, but the branch was much too far away", "{hn} threw pine cones at it, but the {obj} only swung a little"]
        deed = {"fly": "{fn} spread {fhis} wings, flew up through the leaves and lifted the {obj} off the branch",
                "climb": "{fn} ran up the trunk, hopped from branch to branch and brought the {obj} down"}[skill]
    elif way == "hole":
        s.fix(event=["the {obj} slipped, rolled over a stone and fell into a deep, narrow crack",
                     "{hn} stumbled, and the {obj} dropped into a dark hole between two rocks"], spot=["in the hole", "deep in the crack"])
        tries = ["{hn} reached in as far as {he} could, but touched nothing but cold stone", "{hn} poked about with a stick, but that only pushed the {obj} deeper"]
        deed = {"small": "{fn} squeezed into the gap, and a moment later came out backwards, pulling the {obj} along",
                "dig": "{fn} dug until earth flew in all directions, and soon there was a tunnel that led straight to the {obj}"}[skill]
    else:
        s.fix(event=["the {obj} [slid|tumbled] down the bank and splashed into the river, and the current carried it to a rock in the middle",
                     "the {obj} fell off the bridge and floated away, until it stuck between two stones far from the bank"], spot=["out in the water"])
        tries = ["{hn} waded in, but the water was cold and much too deep", "{hn} reached out with a long branch, but it was too short by half"]
        deed = "{fn} slid into the water, swam to the stones and pushed the {obj} all the way back to the bank"
    s.set(tries=tries, deed=deed)
    s.intro("{he} owned @a {oadj} {obj}, [and {he} was very fond of it|and {he} needed it {use}].")
    s.p("{one}, [as {hn} was walking home|on the way to a friend|when {hn} least expected it], {event}. [{hn} could only stand and stare|\"Oh, no!\" cried {hn}].")
    s.p("{tries}. {gn} the {gk} came by and [tried too|had a try], [but had no more luck|but it was no use]. \"[We need somebody else|This is not a job for us],\" said {gn}. "
        "\"[Have you asked|What about] {fn} the {fk}? Everyone knows that {fn} {fcan}.\"")
    s.p("{hn} [was not sure|did not like to trouble anyone]. \"I hardly know {fn},\" {he} said. [\"Then today is a good day to begin,\"|\"That is easily mended,\"] said {gn}. "
        "So they [went and knocked on {fn}'s door|called for {fn}], and {hn} [explained what had happened|asked as politely as {he} could].")
    s.p("\"[I would be glad to help|Why did you not come sooner|Let me see],\" said {fn}. {deed}. [It took no longer than a minute|It was over in a moment].")
    s.close("[\"How can I ever thank you?\" asked {hn}. \"Come and have supper with me,\" said {fn}, \"and bring {gn}.\" And so they did|"
            "{hn} hugged the {obj}, and then {he} hugged {fn}. That night all three of them sat together and ate {ffood}]. "
            "[Everyone is good at something, thought {hn}, and it is wise to ask.|{hn} had lost {his} {obj} for an hour and found a friend for life.]")
    s.head("[{Hn} and the {Obj}|The {Obj} {spot}|How {Fn} Helped {Hn}|The {Hk} and the {Obj}]", "friendship", "asking for help")
    s.ask("Who got the {obj} back?", "{fn} the {fk} got it back, for {fn} {fcan}.")
    s.ask("Where was the {obj}?", "It was {spot}.")


def through_the_dark(s):
    """Somebody needs a thing on a bad night; the hero carries it there with help that was promised at the start."""
    s.cast("f")
    s.cast("g")
    now, need, item = s.rng.choice([("has a fever and needs hot soup", "had a fever and needed hot soup", "pot of soup"),
                                    ("is ill and needs medicine", "was ill and needed medicine", "bottle of medicine"),
                                    ("has no wood left for the fire", "had no wood left for the fire", "bundle of dry wood")])
    s.set(now=now, need=need, item=item)
    s.fix(storm=["rain beat on the windows", "the fog was as thick as wool", "the wind howled around the roof"] + ["snow came down in thick flakes"] * (2 if s.names["season"] == "winter" else 0))
    s.intro("[|On the wall hung @a {oadj} {obj}, a present from {gn} the {gk}. ]")
    s.p("One {season} night, there was a knock at the door. It was {gn} the {gk}, [out of breath|tired and wet]. "
        "\"{fn} the {fk} {now},\" said {gn}. \"[Somebody must go|I cannot walk any further tonight]. Will you take this {item} to {fhim}?\"")
    s.p("{hn} looked outside. {storm}, and [there was not a star to be seen|the night was as black as ink]. {he} [did not want to go|was a little afraid]. "
        "But [{he} thought of {fn}, all alone|{fn} would have done the same for {him}]. So {he} took the {item}, and [for good luck |]the {oadj} {obj} as well, and set out along {path}.")
    s.p("[Halfway there|After a while], {hn} came to [a place where the path split in two|a fork in the path]. [Left or right? {he} could not tell.|Nothing looked the way it did by day.] "
        "{he} stood still and listened. From the left came the sound of running water. \"{fn} lives by the stream,\" said {hn} aloud, \"so left it is.\"")
    s.p("[Step by step|Slowly and carefully], {he} followed the sound, [until a small yellow light shone between the trees|until a small yellow window came out of the darkness]. "
        "{fn} opened the door and could hardly believe it. \"You came through all that, [just for me|with a {item}]?\" \"[It was not so far|You would have come for me],\" said {hn}.")
    s.close("They [sat by the stove until morning|talked until the wind grew quiet], and {fn} began to feel better. When the sun rose, {hn} left the {obj} on the table. "
            "\"Keep it,\" {he} said. \"You can use it {use}, and it will remind you that you are never really alone.\"")
    s.head("[A Light in the Window|{Hn} Goes Out at Night|The {Obj} and the {Season} Night|Through the Dark]", "courage", "kindness", "night", "weather")
    s.ask("Why did {hn} go out at night?", "{hn} went out because {fn} the {fk} {need}.")
    s.ask("How did {hn} find the way?", "{he} listened and followed the sound of running water.")


def a_fear_overcome(s):
    """The hero is afraid of something; a friend in need makes the fear smaller."""
    fears = [
        ("the dark", "shadows looked like big hungry mouths", "the candle went out", "down in the dark cellar", "only an old coat on a hook"),
        ("thunder", "it sounded as if the sky were breaking", "a storm came up", "out in the open field", "only clouds bumping and rumbling"),
        ("high places", "{his} knees shook when {he} looked down", "the ladder had fallen", "on top of the high wall", "only air, and a very fine view"),
        ("deep water", "it was cold and green and had no bottom", "the little bridge broke", "on a rock in the middle of the stream", "only cold water, and it held {him} up"),
        ("the big dog at the mill", "it barked like a drum", "the gate swung open", "behind the mill", "only a lonely dog that wanted company"),
    ]
    if s.world == "space":
        fears = [fears[0], ("the silence outside", "there was no up and no down out there", "an antenna broke", "on the far side of the station", "only stars, and every one of them was quiet and kind")]
    if s.world == "sea":
        fears = [("the deep water", "it was black and had no bottom", "a current pulled", "down in the dark valley below the reef", "only more sea, full of small blue lights"),
                 ("the sunken ship", "its windows looked like eyes", "a plank fell", "inside the old ship", "only wood, and the wood was soft with age")]
    fear, why, event, where, truth = s.rng.choice(fears)
    s.set(fear=fear, why=why, event=event, where=where, truth=truth)
    s.cast("f")
    s.intro("[But there was one thing|There was just one trouble]: {hn} was afraid of {fear}. {why}, {he} said.")
    s.p("[{his} friend|{his} best friend] {fn} the {fk} never laughed about it. \"[Everyone is afraid of something|A fear is like a shadow],\" {fn} said. "
        "\"[I am afraid of spiders|It looks biggest when you run away from it|You will be brave when it matters].\"")
    s.p("{one}, {event}, and {hn} heard a small voice. \"[Help|Please come]! I am stuck {where}!\" It was {fn}. "
        "{hn} [looked around for somebody else, but there was nobody|wanted to run and fetch someone, but there was no time].")
    s.p("{his} heart beat [fast|like a drum]. [\"I am afraid,\" {hn} said to {himself}, \"but {fn} is more afraid than I am.\"|{he} counted to three, and then {he} counted to three again.] "
        "Then {he} took a deep breath and went. [One step, and another step, and one more|First slowly, and then faster]. And do you know what {he} found? It was {truth}.")
    s.p("There sat {fn}, [shivering|cold and frightened]. \"Hold on to me,\" said {hn}, and [together they made their way back|{he} led {fhim} back to safety]. "
        "\"You came!\" said {fn}. \"Were you not afraid?\" \"[I was|Oh yes, very much],\" said {hn}. \"I just took it along.\"")
    s.close("[After that day|From then on], {fear} was still {fear}, but it seemed [a good deal smaller|half as big as before]. "
            "[Being brave, {hn} knew now, does not mean having no fear. It means going on anyway.|And whenever somebody felt frightened, it was {hn} they asked for advice.]")
    s.head("[{Hn} Is Afraid|The Brave {Hk}|{Hn} and the Fear|How {Hn} Became Brave]", "courage", "fear", "friendship")
    s.ask("What was {hn} afraid of?", "{hn} was afraid of {fear}.")
    s.ask("Why did {hn} go anyway?", "{he} went because {his} friend {fn} was stuck and needed help.")
    s.ask("What does it mean to be brave?", "Being brave means going on even though you are afraid.")


def shared_meal(s):
    """The hero shares the last food with a stranger, and the stranger pays it back when it counts."""
    skill = s.rng.choice(["dig", "swim", "fly", "smell"])
    s.cast("f", skill)
    s.fix(amount=["one small bowl", "the last piece", "just enough for one", "half a plate"])
    trouble, deed = {
        "dig": ("[heavy snow|a landslide] blocked {hn}'s door, and {he} could not get out", "{fn} dug a tunnel straight to the door"),
        "swim": ("the river rose and carried off {hn}'s [winter stores|woodpile]", "{fn} swam after it and pushed everything back to the bank"),
        "fly": ("{hn} lost {his} way in the hills, and night was coming", "{fn} saw {him} from above and showed {him} the way home"),
        "smell": ("{hn} lost {his} way in a thick fog", "{fn} followed {his} scent through the fog and led {him} home"),
    }[skill]
    s.set(trouble=trouble, deed=deed)
    s.intro("It had been a hard [winter|spring], and in {his} cupboard there was very little left: {amount} of {hfood}.")
    s.p("{one}, just as {hn} sat down to eat, a stranger [knocked at the door|came to the door]. It was @a [thin|tired] {fk}. \"[Excuse me|Good day],\" said the {fk}. "
        "\"My name is {fn}. I have walked a long way, and I have not eaten [since yesterday|for two days].\"")
    s.p("{hn} looked at the food and then at {fn}. [It was not much.|{his} own stomach was growling.] \"[Come in|Sit down],\" {he} said at last. "
        "\"[Half of a little is still something|A small meal tastes better in company].\" {he} divided the {hfood} into two equal parts, and they ate together and [talked about the road|laughed about the weather].")
    s.p("In the morning, {fn} [thanked {him}|bowed] and went on {fhis} way. [\"I will not forget this,\" {fn} promised.|\"One day I will repay you,\" said {fn}. {hn} only smiled. \"There is nothing to repay.\"]")
    s.p("[Weeks went by|A month passed]. Then {trouble}. {he} called, but [nobody heard|only the wind answered]. [Just as {he} was about to give up hope|When {he} had almost given up], a [voice|friendly voice] said, \"[Is that you, {hn}|Do you remember me]?\" "
        "It was {fn}! {deed}.")
    s.close("[\"You gave me half of all you had,\" said {fn}. \"How could I pass by?\"|\"Now we are even,\" said {hn}. \"Friends do not count,\" answered {fn}.] "
            "And that evening there was a whole pot of {hfood}, [enough for both of them and some left over|and they shared it, as before, in two equal parts].")
    s.head("[Half of a Little|The Stranger at the Door|{Hn} and the Hungry {Fk}|The Shared Supper]", "sharing", "kindness", "friendship", "kitchen")
    s.ask("What did {hn} share?", "{hn} shared {his} last {hfood} with {fn} the {fk}.")
    s.ask("How did {fn} repay the kindness?", "When {hn} was in trouble, {fn} came and helped {him}.")


def the_stopped_machine(s):
    """An important machine stops; the experts look for a big cause, the hero finds the small one."""
    machines = [
        ("mill", "ground flour for the bread", "wheel", "a pebble stuck between two teeth of the wheel", "took out the pebble", "The stones began to turn"),
        ("tower clock", "told everyone when to get up", "hands", "a spider's web wound around the smallest wheel", "brushed the web away with a feather", "Tick, tock, said the clock"),
        ("pump", "brought up cold water from the well", "handle", "a green apple stuck in the pipe", "pulled out the apple", "The water came gushing out"),
        ("carousel", "played a tune as it turned", "horses", "a child's mitten caught in the gears", "pulled the mitten free", "The music started again"),
        ("lighthouse lamp", "showed the ships where the rocks were", "lens", "a moth asleep on the switch", "carried the moth outside", "The great light swept over the sea"),
        ("bread oven", "baked forty loaves at a time", "door", "a bird's nest in the chimney", "moved the nest to a safe branch", "The smoke rose straight up, and the oven grew hot"),
    ]
    if s.world == "space":
        machines = [("air pump", "kept the air fresh", "fan", "a tomato leaf caught in the fan", "pulled out the leaf", "The fan began to hum"),
                    ("radio", "brought messages from the Earth", "dial", "a loose wire behind the dial", "pushed the wire back into its place", "\"Hello, station,\" said a voice from far away")]
    m, does, part, cause, fix, result = s.rng.choice(machines)
    s.set(m=m, does=does, part=part, cause=cause, fix=fix, result=result)
    s.cast("f")
    s.cast("g")
    s.intro("[Close by|Not far away] stood the old {m}, which {does}.")
    s.p("{one}, the {m} stopped. [The {part} did not move|Nothing moved, and nothing made a sound]. [It had never happened before|Nobody could remember such a thing]. "
        "[Everyone came running|A crowd gathered], and everyone had a different idea.")
    s.p("\"[It is worn out|It is simply too old],\" said {fn} the {fk}, and [shook {fhis} head|gave it a kick]. \"We must [buy|build] a new one.\" "
        "\"[Nonsense|Not at all],\" said {gn} the {gk}. \"It needs more oil.\" So {gn} poured in a whole can of oil, but the {m} only dripped.")
    s.p("{hn} had [said nothing so far|been standing at the back]. \"May I look?\" {he} asked. [Some of them laughed|\"You?\" said {fn}], but {hn} [lay down on the floor|bent close] and [looked, and listened, and looked again|followed every part with {his} eyes, from the first to the last]. "
        "And there it was: {cause}.")
    s.p("\"[It is only a small thing|Here is the trouble],\" said {hn}, and {fix}. {result}. [For a moment nobody spoke. Then everybody cheered.|Everybody cheered, and {fn} cheered loudest of all.]")
    s.close("\"[How did you know|How did you do that]?\" asked {gn}. \"I did not know,\" said {hn}. \"I looked.\" [After that|From then on], whenever something stopped working, [people said, \"First let us look for the small thing.\"|they sent for {hn} before they sent for anybody else.]")
    s.head("[{Hn} and the Old {M}|The Day the {M} Stopped|A Small Thing|The {M} That Would Not Go]", "machines", "looking closely", "patience")
    s.ask("What stopped working?", "The {m} stopped working.")
    s.ask("Why did the {m} stop?", "It stopped because of {cause}.")
    s.ask("Who repaired the {m}?", "{hn} the {hk} repaired it.")


def the_race(s):
    """A race in which stopping to help turns out to be the better way to win."""
    s.cast("f")
    s.cast("g")
    s.fix(prize=["a silver cup", "a basket of pears", "a blue ribbon", "a honey cake as big as a wheel"],
          accident=["had slipped into a ditch", "was tangled in a net", "had a thorn in one foot", "had fallen and could not get up"])
    s.set(theprize="the " + s.names["prize"].split(" ", 1)[1])
    if s.world in ("sea", "space"):
        s.fix(accident=["was tangled in an old net", "was stuck fast in a narrow gap"])
    s.intro("Every {season}, [there was a great race|a race was held], and the prize was {prize}. [{hn} had never won it|{hn} had come last three times].")
    s.p("\"This year I will win,\" said {fn} the {fk}, [who liked to boast|and looked around to see who was listening]. \"Nobody is as fast as I am.\" {hn} said nothing, but {he} practised [every morning before breakfast|in secret, up and down {path}].")
    s.p("The day of the race came. Off they went! {fn} was soon in front, and {hn} came second. {s1}, {fn} was well ahead. {s2}, [the gap was already smaller|{hn} was catching up].")
    s.p("Then {hn} heard somebody crying. {s3}, there was {gn} the {gk}, who {accident}. {fn} had run straight past. [{hn} thought of the prize|For one moment {hn} looked at the road ahead]. Then {he} stopped. "
        "\"Hold still,\" {he} said, \"I will help you.\" [It took a long time|It took quite a while], and [when it was done, the race was over|far away they could hear the cheering].")
    s.p("{hn} came in last, with {gn} beside {him}. {fn} was already holding {theprize}. [But then {gn} told everyone what had happened|\"What kept you?\" somebody called, and {gn} told them the whole story]. It grew very quiet. "
        "{fn} looked at the ground. \"I heard you too,\" {fn} said, \"and I did not stop.\"")
    s.close("Then {fn} [walked over|did a fine thing. {fhe} walked over] and gave {theprize} to {hn}. [\"You were the better one today,\" said {fn}.|\"I was faster,\" said {fn}, \"but you were better.\"] "
            "{hn} [smiled|thought for a moment], and said it should belong to all three of them. [That was the day they became friends.|And ever since, the rule of the race has been: whoever stops to help can never come last.]")
    s.head("[The Great Race|{Hn} Comes Last|The Race for {theprize}|Who Won the Race?]", "kindness", "winning and losing", "fairness")
    s.ask("Why did {hn} stop during the race?", "{hn} stopped because {gn} the {gk} {accident}.")
    s.ask("What was the prize?", "The prize was {prize}.")
    s.ask("Who got the prize in the end?", "{fn} gave it to {hn}, who said it should belong to all three of them.")


def the_slow_seed(s):
    """A seed that seems to do nothing, patience, and something to share."""
    plants = [("sunflower", "it was as tall as a door", "yellow petals as bright as lamps", "seeds for everyone"),
              ("pumpkin", "it covered half the bed", "a fat orange pumpkin under the leaves", "soup for everyone"),
              ("morning glory", "it had climbed over the fence", "blue flowers that opened with the sun", "a handful of seeds for everyone"),
              ("bean", "it had reached the top of its pole", "long green pods", "a dish of beans for everyone"),
              ("marigold", "it was as round as a bush", "a hundred orange flowers", "a bunch of flowers for everyone"),
              ("strawberry plant", "it had spread along the whole bed", "red berries that shone like glass", "a bowl of berries for everyone")]
    plant, grew, gives, share = s.rng.choice(plants)
    s.set(plant=plant, grew=grew, gives=gives, share=share, were="was" if gives.startswith("a ") and "hundred" not in gives else "were")
    s.cast("f")
    s.cast("g")
    s.intro("One spring day, {gn} the {gk} gave {him} a seed. It was [small and brown|no bigger than a crumb]. \"Plant it,\" said {gn}, \"and wait.\"")
    s.p("{hn} dug a hole {s1}, put in the seed and covered it with [soft|dark] earth. {he} watered it. Then {he} sat down beside it and waited. Nothing happened. [{he} waited until sunset|{he} waited all afternoon]. Still nothing happened.")
    s.p("[A week went by|Days went by], and there was only bare earth. \"[That seed is dead|You are wasting your time],\" said {fn} the {fk}. [{hn} was almost ready to dig it up and look|{hn} felt a little foolish]. "
        "{he} went to {gn}. \"Is my seed broken?\" {he} asked. {gn} [laughed softly|shook {ghis} head]. \"A seed grows down before it grows up. First it makes a root, where nobody can see. [Give it water, and give it time|Do not dig it up to look, or it has to start again].\"")
    s.p("So {hn} went on watering. [Every morning {he} said hello to the bare earth.|{he} pulled up the weeds and kept the birds away.] And one morning, [there was a tiny green point|a green tip, no bigger than a needle, was looking out of the ground]. "
        "{hn} [danced around it|was so happy that {he} forgot {his} breakfast].")
    s.p("The {plant} grew and grew. By the end of summer {grew}, and there {were} {gives}. [Everybody came to admire it.|{fn} came to see it and walked around it twice.] \"I was wrong,\" said {fn}. \"What is your secret?\" \"[Water|A little water every day],\" said {hn}, \"and waiting.\"")
    s.close("There was {share}, [and {gn} got the first|and {hn} gave the best to {gn}]. But {hn} kept back one small seed. In spring, {he} gave it to {fn}. \"Plant it,\" said {hn}, \"and wait.\"")
    s.head("[The Slow Seed|{Hn} Plants a Seed|Water and Waiting|The {Plant}]", "garden", "patience", "growing things")
    s.ask("What grew from the seed?", "@A {plant} grew from it.")
    s.ask("What was {hn}'s secret?", "The secret was a little water every day, and waiting.")
    s.ask("Why did nothing seem to happen at first?", "A seed first makes a root under the ground, where nobody can see it.")
