"""Plots, second part."""


def the_surprise(s):
    """Friends behave strangely; the reason is a kind one."""
    s.cast("f")
    s.cast("g")
    s.fix(gift=["@a {oadj} {obj}"], noise=["the sound of hammering", "whispering and giggling", "a strange humming"])
    s.intro("[Tomorrow was {his} birthday|It was the day before {his} birthday], but nobody seemed to remember it.")
    s.p("{one}, {hn} met {fn} the {fk} {s1}. \"[Good day|Hello], {fn},\" said {hn}. \"Shall we [take a walk|play a game]?\" [{fn} jumped, and hid something behind {fhis} back|{fn} went red and looked away]. "
        "\"I have no time,\" said {fn}, and [hurried away|was gone].")
    s.p("{hn} went to see {gn} the {gk}. From behind the door came {noise}. {he} knocked, and the noise stopped at once. \"[Not now|Come back tomorrow]!\" called {gn}. "
        "[{hn} walked home slowly, kicking a stone|{hn} went home and did not even want {his} {hfood}]. \"What have I done?\" {he} wondered. \"[They do not like me any more|They have forgotten me].\"")
    s.p("[That night {hn} slept badly|{he} lay awake for a long time]. In the morning, there was a note under the door. It said: Please come quickly to the place {s2}. [{hn} ran|{hn} went as fast as {he} could]. \"Somebody must be in trouble,\" {he} thought.")
    s.p("\"Surprise!\" There stood {fn} and {gn} and all the neighbours, with paper lamps and a cake [with nuts|with cherries|with cream]. {fn} held out a parcel. In it was {gift}. "
        "\"We made it ourselves,\" said {gn}. \"You can use it {use}. [You almost caught us twice|It was not easy to keep the secret].\"")
    s.close("{hn} [laughed until tears came|did not know what to say]. \"And I thought you had forgotten,\" {he} said. \"[Forget you|How could we forget]?\" said {fn}. [They sang and danced until the moon came up.|It was the best birthday {hn} ever had.] "
            "[And from then on, {hn} thought twice before {he} thought something bad of a friend.|]")
    s.head("[The Secret|{Hn}'s Birthday|Why Was Everyone So Busy?|A Strange Day for {Hn}]", "birthdays", "friendship", "trust")
    s.ask("Why were {fn} and {gn} acting so strangely?", "They were preparing a birthday surprise for {hn}.")
    s.ask("What present did {hn} get?", "{hn} got {gift}.")


def the_mystery(s):
    """Something goes missing at night; the clues lead to somebody with a good reason."""
    s.fix(clue=["a trail of white flour", "a row of small wet footprints", "three grey feathers", "a line of crumbs"],
          food=["pies", "apples", "buns", "carrots", "plums"])
    s.cast("f")
    young = {"sea": "pups", "space": "kittens"}.get(s.world, s.rng.choice(["kittens", "ducklings", "chicks", "puppies"]))
    s.set(young=young)
    s.cast("g")
    s.intro("[{he} was proud of {his} larder|{he} kept a full larder], and this week there were twelve {food} on the shelf.")
    s.p("One morning, there were only ten. [\"I must have counted wrong,\" said {hn}.|{hn} counted again, and then once more.] The next morning, there were eight. \"[Somebody is taking my {food}|That is very odd],\" {he} told {fn} the {fk}. \"Two every night.\"")
    s.p("\"[A thief|How exciting]!\" said {fn}. \"[We must catch the rascal|We must look for clues].\" They looked at the floor, and the window, and the door. {fn} saw nothing. But {hn}, who [took {his} time|looked more closely], found {clue}. It led outside, along {path}, and stopped {s1}.")
    s.p("That night they hid {s1} and waited. [The moon rose|An owl called far away]. At midnight, somebody came by on soft feet, with two {food}. \"Stop!\" cried {fn}. It was {gn} the {gk}, [and {ghe} began to cry|who stood still and trembled].")
    s.p("\"[Please do not be angry|I am so sorry],\" said {gn}. \"Look.\" {s1}, under some straw, lay five little {young}. \"I found them after the storm,\" said {gn}. \"They have no mother, and they are always hungry. I had nothing left to give them, and I was ashamed to ask.\"")
    s.close("{hn} looked at the {young}, and was not angry any more. \"[Asking would have been easier|You only had to ask],\" {he} said. {hn} brought the rest of the {food}, and {fn} brought a warm blanket. "
            "[From then on, the three of them looked after the little ones together.|And every evening the three friends fed the {young} together, until they were big and strong.] [And there were no more mysteries in the larder, except once, and that was a mouse.|]")
    s.head("[The Missing {Food}|The Night Visitor|{Hn} Follows the Clues|Who Took the {Food}?]", "mystery", "kindness", "asking for help", "night")
    s.ask("Who took the {food}?", "{gn} the {gk} took them, to feed five hungry {young}.")
    s.ask("What clue did {hn} find?", "{hn} found {clue}.")


def the_quarrel(s):
    """Two friends quarrel over how to build something, fail apart and succeed together."""
    builds = [("bridge over the stream", "[long|wide]", "it fell in with a splash", "The planks held, and so did the ropes"),
              ("tree house", "high", "it slid sideways and came down", "It stood as firm as the tree itself"),
              ("snow castle", "tall", "the walls sank and fell in", "The towers shone in the moonlight"),
              ("raft", "flat", "it turned over like a pancake", "It floated like a leaf"),
              ("stone oven", "round", "the roof fell in", "By evening it held the first warm loaf")]
    if s.world == "sea":
        builds = [("tower of shells", "tall", "it fell over", "It stood as firm as a rock"), ("garden of coral", "bright", "the current carried it off", "Every colour of the sea was in it")]
    if s.world == "space":
        builds = [("little cart", "fast", "a wheel came off", "It rolled as smoothly as a marble"), ("new antenna", "tall", "it bent and fell over", "It caught a whisper from the other side of the sky")]
    if s.names["season"] != "winter":
        builds = [b for b in builds if b[0] != "snow castle"]
    build, how, fail, result = s.rng.choice(builds)
    s.set(build=build, how=how, fail=fail, result=result)
    s.cast("f")
    a, b = s.rng.sample([("strong", "strength"), ("careful", "care"), ("quick", "speed"), ("clever", "good ideas")], 2)
    s.set(hgood=a[0], fgood=b[0], hgift=a[1], fgift=b[1])
    s.intro("{his} best friend was {fn} the {fk}. {hn} was {hgood}, and {fn} was {fgood}, [and they did everything together|and they had never had a quarrel].")
    s.p("{one}, they decided to build a {build}. \"[It must be done my way|Let us do it my way],\" said {hn}. \"No, mine is better,\" said {fn}. [Soon they were shouting|One word led to another]. \"[Then I will build it by myself|I do not need you]!\" \"[Good|Fine]! So will I!\"")
    s.p("{hn} worked {s1}, and {fn} worked {s2}. {hn} was {hgood}, but [{he} forgot half of what was needed|{he} had nobody to hold the other end], and when {he} tried {his} {build}, {fail}. {fn} was {fgood}, but [working alone was slow and dull|one alone was not enough], and with {fhis} {build} it went no better.")
    s.p("[In the evening it was very quiet|The evening was long]. {hn} missed {fn}'s jokes. {fn} missed {hn}'s songs. [At last {hn} got up and went to {fn}|They both set out at the same moment and met halfway]. \"I am sorry,\" said {hn}. \"[No, I am|So am I],\" said {fn}. \"[My part fell down|It was no fun without you].\"")
    s.p("The next day, they began again. {hn} brought {his} {hgift}, and {fn} brought {fhis} {fgift}. [When they did not agree, they tried both ways and kept the better one.|This time they listened to each other.] Before sunset the {build} was finished. {result}.")
    s.close("[They sat down side by side and ate {hfood}.|\"We did it,\" said {fn}.] \"Which of us built it?\" asked {hn}. \"[We did|Both of us],\" said {fn}, and that was [the truth|the right answer].")
    s.head("[The Quarrel|Two Friends and a {Build}|{Hn} and {Fn} Build a {Build}|Better Together]", "friendship", "quarrels", "working together", "building")
    s.ask("What did {hn} and {fn} build?", "They built a {build}.")
    s.ask("Why did they fail at first?", "They failed because each of them tried to build it alone.")


def learning(s):
    """Three tries, good advice, and the new skill put to use."""
    things = [("whistle", "only air came out", "wet your lips and think of a bird", "a clear, high note", "The whole valley heard the whistle, and {fn} came running from the hill"),
              ("bake bread", "it came out as flat as a plate", "let the dough rest, and it will rise", "a round brown loaf", "There was bread for all the neighbours when snow closed the road"),
              ("play the drum", "it sounded like falling pots", "listen to your own steps and play those", "a beat that made everyone tap along", "The dancers at the feast had music after all"),
              ("read", "the letters jumped about like fleas", "take one letter at a time, and say it aloud", "a word, and then a whole line", "{hn} read out the old map, and they found the spring of clear water"),
              ("tie a knot", "it slipped open again", "go around the tree once more before you pull", "a knot that held", "When the storm came, {hn}'s knot kept the boat from drifting away"),
              ("juggle", "the balls rolled away in all directions", "look up, not at your hands", "three balls in the air at once", "The sick children laughed for the first time in a week"),
              ("sing", "it sounded like a rusty gate", "breathe deep, and do not be afraid of being heard", "a song as warm as bread", "The song led three lost travellers home through the fog")]
    if s.world == "sea":
        things = [things[6], ("leap", "there was only a splash", "swim deep before you jump high", "a leap over the waves", "From up there {hn} saw the lost fishing boat and led it home")]
    skill, fail, advice, success, use = s.rng.choice(things)
    s.cast("f")
    s.cast("g")
    s.set(skill=skill, fail=fail, advice=advice, success=success, useit=use)
    s.intro("More than anything, {hn} wanted to learn to {skill}.")
    s.p("The first time {he} tried, {fail}. [{he} tried again, and it was no better|The second time was worse]. {fn} the {fk} [laughed|covered both ears]. \"[Some can, and some cannot|Give it up],\" said {fn}. [{hn} tried a third time, secretly, {s1}. It was no good.|That evening {hn} almost gave up.]")
    s.p("Then {he} remembered {gn} the {gk}, who was very old and knew many things. \"I cannot {skill},\" said {hn}, \"and I have tried three times.\" \"[Three times|Is that all]?\" said {gn}. \"[I tried a hundred times|It took me a whole year]. Here is what I learned: {advice}.\"")
    s.p("{hn} [thanked {gn} and went home|thought about this all the way home]. {he} practised every day {s2}. [On some days it went well, and on others it did not|It went slowly, like a snail up a wall]. And then, one [fine|quiet] day, there it was: {success}! {hn} [was so surprised that {he} stopped|laughed out loud].")
    s.p("[Not long after that|Some weeks later], the new skill was needed. {useit}. \"{hn} did that!\" said {gn}. {fn} [came up and looked at the ground|was very quiet]. \"I was wrong,\" said {fn}. \"[Could you|Would you] teach me?\"")
    s.close("\"[Of course|Gladly],\" said {hn}. \"The first hundred times are the hardest. And here is what I learned: {advice}.\"")
    s.head("[{Hn} Learns to {Skill}|The Hundredth Try|{Hn} Does Not Give Up|Good Advice]", "learning", "patience", "practice")
    s.ask("What did {hn} want to learn?", "{hn} wanted to learn to {skill}.")
    s.ask("What advice did {gn} give?", "{gn} said: {advice}.")
    s.ask("Who taught {hn}?", "{gn} the {gk} gave {him} good advice, and {hn} practised every day.")


def the_signal(s):
    """A lonely one in space sends a message and gets an answer."""
    s.cast("f")
    s.fix(sender=["three short beeps", "a little tune of five notes", "the words: I am here"], part=["an old antenna and a biscuit tin", "a broken radio and a copper spoon", "spare wire and the lid of a pot"],
          far=["a ship on its way to Saturn", "a station on the far side of the moon", "a small base on Mars"])
    s.intro("There was much to do, but in the evenings it was very quiet. {hn} looked at the stars and wondered whether anybody was looking back.")
    s.p("{one}, {hn} had an idea. From {part} {he} built a transmitter. {he} set it up {s1}, and sent out {sender}. Then {he} listened. [There was only the hiss of the stars.|Nothing came back but a soft crackle.]")
    s.p("The next evening {he} sent it again, and the next, and the one after that. [\"The sky is big,\" {he} told the tomato plants. \"It takes time.\"|{hn} wrote every try in a little book: no answer, no answer, no answer.] A radio message travels as fast as light, but even light needs a while to cross so much darkness.")
    s.p("On the [twentieth|thirtieth] evening, when {hn} was about to switch everything off, the speaker crackled. Somebody was answering! \"[Hello|Good evening],\" said a voice. \"My name is {fn}. I am @a {fk} on {far}. I have heard you for a week, but my own transmitter was broken. [I repaired it today|It took me until now to mend it].\"")
    s.p("{hn} was so happy that {he} [bumped into the wall|turned around twice]. They talked until the batteries were low. {fn} told {him} about life on {far}. {hn} told {fhim} about the view from the round window, [where the Earth rose like a blue lamp|and about the tomatoes, which were nearly ripe].")
    s.close("Every evening after that, they talked for an hour. And [one day|a year later] a small ship landed. The door opened, and out came {fn}, with a present: @a {oadj} {obj}. \"So that you have something {use},\" said {fn}. \"And because I wanted to see those tomatoes.\"")
    s.head("[A Voice Among the Stars|The Signal|{Hn} Calls the Stars|Is Anybody There?]", "space", "friendship", "loneliness", "machines", "stars")
    s.ask("What did {hn} build?", "{hn} built a transmitter from {part}.")
    s.ask("Who answered?", "{fn}, @a {fk} on {far}, answered.")
    s.ask("Why did the answer take so long?", "{fn}'s own transmitter was broken and had to be repaired first.")


def the_fog(s):
    """Fog at sea: light is no use, so a sound brings the boat home."""
    s.cast("f", kinds=["fisherman", "sailor", "ferryman", "boat builder"] if s.world == "coast" else ["seal", "turtle", "dolphin", "penguin"])
    s.cast("g")
    s.fix(sound=["a bronze bell", "an old ship's horn", "a big copper pot and a spoon", "a drum made from a barrel"])
    s.set(made="[rang out|sounded] across the water")
    s.intro("{he} knew the sea in all its moods: [green and lively|blue and lazy] in summer, and grey and grumbling in winter.")
    s.p("{one}, a fog came in from the sea. It [swallowed the rocks, the pier and the boats|was so thick that the gulls walked instead of flying]. [Everyone|All the others] stayed at home. Only {fn} the {fk} was still out there, beyond the rocks.")
    s.p("\"[We must make a bigger light|More light],\" said {gn} the {gk}. They [lit every lamp they had|held up every lamp], but the fog only turned white and shone like milk. \"[It is no use|That will not help],\" said {hn}. \"Fog drinks up the light.\"")
    s.p("{hn} [closed {his} eyes and thought|thought hard]. {he} could hear the water lapping {s1}. [If I can hear the water, {he} thought, then {fn} can hear me.|\"Light cannot get through,\" {he} said, \"but sound can.\"] {he} ran and fetched {sound}. One, two, three! It {made}. [{hn} counted to ten, and did it again.|Then {he} waited a little, and did it again.]")
    s.p("[Far out|Out in the fog], {fn} had [lost all sense of direction|no idea where the land was]. Then {fhe} heard it, very faintly: one, two, three. {fhe} turned towards the sound. When it grew fainter, {fhe} turned a little; when it grew louder, {fhe} went straight on. So, [bit by bit|slowly], {fhe} came past the sharp rocks and into the calm water.")
    s.close("\"[I could not see a thing|It was like being inside a cloud],\" said {fn}, \"but I could hear you all the way.\" [{hn} was tired, but {he} smiled.|{hn} had kept it up for two hours.] Ever since, [there has been a sound signal on that coast|they have kept {sound} ready], and when the fog comes, somebody is always there to make it heard.")
    s.head("[The Fog|{Hn} and the Fog|A Sound in the Fog|How {Fn} Came Home]", "the sea", "fog", "helping", "weather", "boats")
    s.ask("Why was a light no use?", "The fog was so thick that it swallowed the light.")
    s.ask("How did {fn} find the way home?", "{fn} followed the sound that {hn} made with {sound}.")


def the_trades(s):
    """A chain of trades: each one wants what the next one has."""
    s.cast("f")
    s.cast("g")
    s.cast("q")
    a, b, c = s.rng.choice([("an egg", "a cup of milk", "a bag of flour"), ("a jar of jam", "a bundle of wood", "a pot of butter"), ("a bunch of parsley", "a ball of wool", "a basket of eggs"),
                            ("a bowl of nuts", "a pair of mittens", "a bag of sugar")])
    s.set(a=a, b=b, c=c, the_a="the " + a.split(" ", 1)[1], the_b="the " + b.split(" ", 1)[1], the_c="the " + c.split(" ", 1)[1])
    s.fix(cake=["a birthday cake", "a plum cake", "a big nut cake", "a tray of buns"])
    s.set(thecake="the " + s.names["cake"].split(" ", 1)[1])
    s.intro("Today {he} wanted to bake {cake}. [Everything was ready, but one thing was missing|The oven was hot and the bowl was clean, but something was missing]: {c}.")
    s.p("{hn} went to {fn} the {fk}. \"[Do you have|May I have] {c}?\" {he} asked. \"Certainly,\" said {fn}, \"[but I need|if you bring me] {b}.\" [{hn} had none.|Now {hn} had two things to find.]")
    s.p("So {hn} went to {gn} the {gk}, {s1}. \"Could you give me {b}? Then {fn} will give me {c}.\" \"With pleasure,\" said {gn}, \"but I have been looking for {a} all day.\" [\"Oh dear,\" thought {hn}, \"this is getting long.\"|{hn} scratched {his} head.]")
    s.p("{s2} {he} met {qn} the {qk}. \"Do you have {a}?\" asked {hn}. \"Then {gn} will give me {b}, and {fn} will give me {c}, and I can bake {cake}.\" {qn} laughed. \"[I do have one|As it happens, I do], and all I want for it is [a taste of what you bake|a seat at your table].\"")
    s.p("So {qn} gave {hn} {a}. {hn} took {the_a} to {gn} and got {b}. {he} took {the_b} to {fn} and got {c}. And {he} took {the_c} home and baked, [until the whole place smelled of sugar and butter|and hummed while the oven did its work].")
    s.close("When {thecake} stood on the table, [there was a knock at the door|{hn} opened the door]. There were {qn}, and {gn}, and {fn}. \"[We followed our noses|It smelled so good],\" they said. [Everybody had given something, and everybody got a piece.|And since each of them had helped, each of them had a share, and it tasted better than anything {hn} had ever baked alone.]")
    s.head("[The Long Way to a Cake|{Hn} Bakes|One Thing for Another|What {Hn} Needed]", "kitchen", "sharing", "trading", "baking")
    s.ask("What did {hn} want to bake?", "{hn} wanted to bake {cake}.")
    s.ask("What did {fn} want in return for {the_c}?", "{fn} wanted {b}.")
    s.ask("What was missing at first?", "{C} was missing.")


def the_way_home(s):
    """A lost youngster finds home with advice heard at the beginning."""
    ways = [("the North Star never moves from its place", "the brightest star at the end of the Little Bear's tail", "walk towards it, for our home lies to the north", "night fell and the sky was full of stars"),
            ("every stream runs downhill", "a thin stream that ran between the stones", "follow the water, for our home lies where it reaches the valley", "at last, there was the sound of running water"),
            ("moss likes the side where the sun does not shine", "green moss on one side of each trunk", "the sunny side is south, and our home lies to the south", "{he} looked closely at the old trees"),
            ("the sun goes down in the west", "the red sun low over the hills", "keep it behind you in the evening, for our home lies to the east", "the clouds opened, and the sun came out below them")]
    if s.world == "space":
        ways = [("the red lamp always marks the airlock", "a red light, blinking slowly in the dust", "walk straight to it, for our home is behind that door", "the dust began to settle")]
    if s.world == "sea":
        ways = [("the warm current always flows to the bay", "warm water along the edge of the reef", "swim with it, for it flows past our door", "there was a touch of warmth in the cold water")]
    fact, sight, advice, moment = s.rng.choice(ways)
    s.set(fact=fact, sight=sight, advice=advice, moment=moment, elder=s.rng.choice(["grandmother", "grandfather", "aunt", "uncle"]))
    if s.hero.robot:
        s.set(elder="teacher")
    s.fix(chase=["followed a blue butterfly", "chased a rolling leaf", "went to see what was behind the hill"])
    if s.world in ("space", "sea"):
        s.fix(chase=["followed a small blinking light", "followed a row of tracks in the dust" if s.world == "space" else "followed a cloud of silver bubbles"])
    s.cast("f")
    s.intro("{his} [old|wise] {elder} often told {him}, \"Remember: {fact}. If you are ever lost, [do not run about|stay calm]. Look for that, and {advice}.\" [{hn} nodded, but {he} was thinking of other things.|{hn} only half listened.]")
    s.p("{one}, {hn} {chase}, farther and farther from home. [When {he} looked up, nothing looked familiar.|Suddenly {he} noticed that {he} did not know the place at all.] {he} turned left, and right, and left again, and came back to the same [rock|stone].")
    s.p("{s1} {he} met {fn} the {fk}, who was [crying|sitting alone]. \"I am lost,\" said {fn}. \"So am I,\" said {hn}. [\"Then we are lost together, and that is better than alone.\"|They sat close together, and it was not so bad.] Then {hn} remembered the words of {his} {elder}: {fact}.")
    s.p("They [waited and watched|looked and looked]. And then {moment}. \"There!\" cried {hn}, and pointed: {sight}. \"[I know what to do now|Come]. {Advice}, that is what I was told.\" [They did exactly that, and did not turn left or right.|{fn} held on to {hn}, and they did just that.]")
    s.close("[After a long time|An hour later], there was a light, and somebody calling. It was {hn}'s {elder}! \"We were so worried,\" said the {elder}. \"How did you find the way?\" \"[You told me|I listened],\" said {hn}. \"I just did not know it until I needed it.\" And {fn} stayed for supper, and was taken home in the morning.")
    s.head("[The Way Home|{Hn} Is Lost|Lost and Found Again|What {Hn} Remembered]", "finding the way", "listening", "family", "night")
    s.ask("What had {hn}'s {elder} told {him}?", "{hn}'s {elder} had told {him} that {fact}.")
    s.ask("Whom did {hn} meet when {he} was lost?", "{hn} met {fn} the {fk}, who was lost too.")


def the_truth(s):
    """Something gets broken; telling the truth is hard, and turns out well."""
    s.cast("f")
    s.fix(precious=["a blue vase", "a glass bowl", "a painted jug", "a china plate"], cover=["the wind did it", "nobody was there", "it fell by itself"])
    s.set(it=s.names["precious"].split(" ", 1)[1])
    s.intro("{his} neighbour was {fn} the {fk}, who owned {precious}. It [had come from far away|was very old], and {fn} [dusted it every day|loved it more than anything].")
    s.p("{one}, {fn} asked {hn} to look after the house for an hour. {hn} [meant to sit still|wanted to be careful]. But then {he} began to play with {his} {obj}, and [the {obj} flew out of {his} grasp|{he} turned around too quickly]. There was a crash. The {it} [lay in pieces on the floor|had broken into five pieces].")
    s.p("{hn} felt [cold all over|sick]. \"I could say that {cover},\" {he} thought. \"{fn} would never know.\" {he} [practised saying it|said it aloud], but [it sounded wrong|the words tasted like dust]. {he} heard steps on the path.")
    s.p("{fn} came in and saw the pieces. \"What happened?\" [{hn} opened {his} mouth|{hn} swallowed]. \"I broke it,\" {he} said. \"I was playing, and I should not have been. I am very, very sorry.\" It was [quiet for a long time|so quiet that they could hear the clock].")
    s.p("\"[I am sad about the {it}|It was a beautiful {it}],\" said {fn} at last. \"But it can be mended. If you had lied to me, [that would have been harder to mend|what would have mended that]?\" They fetched glue, and sat down together, and [put piece to piece|worked until the lamp was lit].")
    s.close("The {it} stood on the shelf again, with fine lines running through it like [rivers on a map|the veins of a leaf]. \"I like it better now,\" said {fn}. \"[Each time I see those lines, I think of an honest friend.|Those lines tell a story, and it is a good one.]\"")
    s.head("[The Broken {It}|{Hn} Tells the Truth|An Honest Friend|Five Pieces]", "honesty", "telling the truth", "friendship")
    s.ask("What did {hn} break?", "{hn} broke {precious}.")
    s.ask("What did {hn} do after breaking it?", "{hn} told the truth and said sorry, and helped to mend it.")


def the_moon(s):
    """Somebody wants the moon, and finds it nearer than expected."""
    s.cast("f")
    s.cast("g")
    s.intro("Every night {hn} looked up at the moon. [\"I want to touch it,\" {he} said. \"Just once.\"|{he} wished, more than anything, to hold it just once.]")
    s.p("One clear evening {he} climbed the highest [hill|tower] {he} could find, and stretched. The moon was as far away as ever. \"[You need a ladder|A ladder might do],\" said {fn} the {fk}, who had come along. They put one ladder on top of another, but [the moon only looked down and smiled|it was no use].")
    s.p("\"I will [call it down|catch it when it sets],\" said {hn}, and {he} [called until {he} had no voice left|ran towards the place where it touched the hills]. But [the moon did not come|the moon sank behind a farther hill]. {hn} sat down {s1} and was sad.")
    s.p("There {gn} the {gk} found {him}. \"[What are you looking for up there|Why so sad]?\" asked {gn}. {hn} explained. {gn} [smiled|thought for a while]. \"[Bring|Fetch] a bowl, fill it with water, and set it down outside.\" {hn} did so. \"Now look,\" said {gn}. And there, in the middle of the water, [trembling a little|round and white], lay the moon.")
    s.p("Very gently, {hn} touched the water. The moon broke into a hundred silver pieces, and then, slowly, it became whole again. \"It is [cool|cold],\" {he} whispered, \"and it tickles.\"")
    s.close("Since then, {hn} has never been without a moon. [When friends come, each of them gets a bowl, and so there are as many moons as guests.|On clear nights there is always a bowl of water at {his} door, and anybody who likes may come and touch the sky.]")
    s.head("[{Hn} and the Moon|The Moon in the Bowl|How to Touch the Moon|A Bowl of Moonlight]", "the moon", "night", "wishes", "space")
    s.ask("What did {hn} want?", "{hn} wanted to touch the moon.")
    s.ask("How did {hn} touch the moon in the end?", "{hn} touched its reflection in a bowl of water.")


def small_but_needed(s):
    """The small one, sent away by all, is the only one who fits."""
    s.cast("f")
    s.cast("g")
    s.set(hadj="small")
    s.hero.trait = "small"
    s.names["shows"], s.names["remembers"] = "{he} was smaller than all the others", "nobody ever called {hn} too small again"
    s.fix(work=["build a wall against the flood", "bring in the harvest", "put up the big tent for the fair", "load the winter ship"])
    s.fix(stuck=["the bolt of the great gate had jammed on the inside", "a bell rope had slipped through a hole in the roof", "the only key had fallen behind the old cupboard", "a pipe under the floor was blocked"])
    s.intro("Everyone was getting ready to {work}. \"Can I help?\" asked {hn}.")
    s.p("\"[You are too small|This is work for bigger folk],\" said {fn} the {fk}. \"[You would be in the way|Go and play].\" {hn} asked {gn} the {gk}, [but the answer was the same|who only laughed kindly]. So {he} sat down {s1} [and watched|and watched the others work].")
    s.p("Then, [in the middle of the afternoon|just before sunset], everything came to a stop: {stuck}. Without that, nobody could go on. {fn} pushed and pulled. {gn} [tried with a long stick|reached in as far as {ghe} could]. The gap was [narrow|no wider than a saucer], and none of them could get through.")
    s.p("\"[I could fit|Let me try],\" said {hn}. [Nobody laughed this time.|They all looked around, and then down.] {hn} [drew in {his} breath|made {himself} thin] and slipped into the gap. It was dark and dusty, [and something scratched in the corner|and it smelled of old rain], but {he} went on. {he} pulled, and pushed, and there was a rattle, and then [a great cheer|a cheer from outside]. It was done!")
    s.close("\"Without you we would [still be standing here|never have managed],\" said {fn}. \"I am sorry I sent you away.\" \"[That is all right|Never mind],\" said {hn}. \"[You are good at being big, and I am good at being small.|Some jobs need a big one, and some need me.]\" And so they went back to work, and this time {hn} sat in the best place and gave the orders.")
    s.head("[Too Small?|Small {Hn}|The One Who Fitted|{Hn} Is Small]", "being small", "courage", "working together")
    s.ask("Why did {fn} send {hn} away?", "{fn} thought that {hn} was too small to help.")
    s.ask("How did {hn} save the day?", "{he} was small enough to slip through the gap when {stuck}.")


def the_band(s):
    """Music made from found things."""
    s.cast("f")
    s.cast("g")
    s.fix(i1=["an old bucket", "a cracked barrel", "an empty box"], i2=["a comb and a leaf", "six bottles with water in them", "a row of flower pots"], i3=["two spoons", "a string of shells", "a jar of dried peas"])
    s.set(thei1="the " + s.names["i1"].split(" ", 1)[1])
    s.intro("Tomorrow was the {season} feast, and {hn} was to bring the music. But [the fiddler was ill|the musicians had not come|the old piano had lost half its keys].")
    s.p("\"[No music|A feast without music]!\" said {fn} the {fk}. \"[Then there is no feast|That is like soup without salt].\" {hn} sat down on {i1}, and [drummed on it while {he} thought|knocked on it again and again]. Boom, boom, went the sound. [{hn} stopped. {hn} listened.|{hn} looked down in surprise.] \"That is not bad at all,\" {he} said.")
    s.p("[They began to look around|Off they went to look for more]. {s1} they found {i2}. {fn} tried it, and out came [a sweet, funny sound|a sound like a happy goose]. {s2} they met {gn} the {gk}, who had {i3} and [could shake them in time|knew three old songs].")
    s.p("They practised [all afternoon|until the stars came out]. At first it sounded like [a cart full of pots|an argument]. \"[Slower|Listen to each other],\" said {hn}. \"One, two, three, four.\" And [bit by bit|little by little] the noise turned into a tune.")
    s.close("At the feast, everyone [looked puzzled when they saw {thei1}|stared at {thei1}]. Then the three of them began to play, and [feet began to tap|nobody could sit still]. They danced until [midnight|the lamps burned low]. \"Where did you buy such fine instruments?\" asked a visitor. \"We did not buy them,\" said {hn}. \"We [found|heard] them.\"")
    s.head("[The Odd Band|Music from Nothing|{Hn}'s Band|Boom, Boom, Boom]", "music", "working together", "making things")
    s.ask("What did {hn} use as a drum?", "{hn} used {i1} as a drum.")
    s.ask("Why did they have to make music themselves?", "They made it themselves because there were no musicians for the feast.")
