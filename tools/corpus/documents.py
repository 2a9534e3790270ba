"""Documents: stories, explanations, questions, how-tos, verses and conversations, mixed as the model shall meet them."""

from . import plots_a, plots_b
from .facts import EXPLANATIONS
from .grammar import capital, render
from .howto import HOW_TO, VERSES
from .people import OBJECTS, Person
from .scene import Scene
from .tables import small_fact

EOS = "<|end_of_text|>"
LAND = ("wood", "farm", "village")
WITH_HANDS = ("wood", "farm", "village", "coast")
# plot: (worlds of its hero, things it may be about or None when the thing matters little, weight)
PLOTS = [
    (plots_a.lost_and_found, WITH_HANDS, True, 4),
    (plots_a.out_of_reach, LAND, True, 4),
    (plots_a.through_the_dark, LAND, True, 3),
    (plots_a.a_fear_overcome, WITH_HANDS + ("sea", "space"), False, 3),
    (plots_a.shared_meal, LAND, False, 2),
    (plots_a.the_stopped_machine, WITH_HANDS + ("space",), False, 3),
    (plots_a.the_race, LAND + ("sea",), False, 2),
    (plots_a.the_slow_seed, LAND, False, 2),
    (plots_b.the_surprise, WITH_HANDS, True, 3),
    (plots_b.the_mystery, LAND, False, 2),
    (plots_b.the_quarrel, WITH_HANDS + ("sea", "space"), False, 3),
    (plots_b.learning, LAND + ("coast", "sea"), False, 3),
    (plots_b.the_signal, ("space",), True, 3),
    (plots_b.the_fog, ("coast", "coast", "sea"), False, 3),
    (plots_b.the_trades, LAND, False, 2),
    (plots_b.the_way_home, LAND + ("space", "sea"), False, 3),
    (plots_b.the_truth, LAND, True, 2),
    (plots_b.the_moon, LAND + ("coast",), False, 2),
    (plots_b.small_but_needed, ("wood", "farm"), False, 2),
    (plots_b.the_band, LAND + ("coast",), False, 2),
]
WEIGHTS = [p[3] for p in PLOTS]


def make_story(rng, split):
    """A finished scene, and whether its thing matters."""
    plot, worlds, about_thing, _ = rng.choices(PLOTS, WEIGHTS)[0]
    kind = None
    if plot is plots_b.small_but_needed:
        kind = rng.choice(["mouse", "hedgehog", "robin", "wren", "dormouse", "snail", "mole", "frog", "squirrel", "lamb", "hen", "ant"])
    objects = OBJECTS
    if plot is plots_a.out_of_reach:
        objects = [o for o in OBJECTS if OBJECTS[o][2].split() != ["left"]]
    elif plot is plots_b.the_truth:
        objects = ["ball", "kite", "sled", "toy boat", "rope", "drum", "hat", "balloon", "broom", "spade"]
    elif plot is plots_b.the_surprise:
        objects = [o for o in OBJECTS if o not in ("coin", "letter", "button", "feather", "shell")]
    elif plot is plots_a.through_the_dark:
        objects = ["lantern", "candle", "blanket", "scarf", "teapot", "book", "music box", "compass", "clock", "pair of boots", "umbrella", "jar of honey"]
    scene = Scene(rng, worlds, kind=kind, objects=objects, split=split)
    plot(scene)
    return scene, about_thing


# ---------------------------------------------------------------------------------------------------- conversations

SYSTEMS = ["You are a friendly storyteller.", "You are a helpful assistant.", "You answer in plain and friendly words.",
           "You tell short stories and explain how things work.", "You are a kind teacher."]
ABILITIES = ("I can tell [short |little ]stories about animals, people and robots, explain [simple things|how things work], answer small questions, "
             "[write a short verse|make a little poem] and say how to do things")
SMALL_TALK = [
    ("[Hello|Hi|Hello there|Good morning|Good evening|Hey|Good day][!|.|]", "[Hello|Good day|Hello there]! [What would you like|Would you like a story, or do you have a question for me|Shall I tell you a story, or explain something]?"),
    ("[How are you|How are you today|How do you do]?", "[I am well, thank you|Very well, thank you]. [What shall we talk about|Would you like to hear a story]?"),
    ("[Who are you|What are you|Tell me about yourself][?|.]", "I am a small Bamba model. " + ABILITIES + "."),
    ("What is your name?|Do you have a name?", "I am a small Bamba model, and you may simply call me Bamba."),
    ("[What can you do|What do you know|How can you help me|Help][?|]", ABILITIES + ". [Just ask|Try me]!"),
    ("Are you a robot?|Are you a person?|Are you human?", "No, I am a language model, a program that writes one word after another."),
    ("[Thank you|Thanks|Thank you very much|Thanks a lot][!|.]", "You are [very |]welcome[!|.] [Would you like another one?|Come back whenever you like.|]"),
    ("[Goodbye|Bye|Good night|See you tomorrow][!|.]", "[Goodbye, and take care|Goodbye! It was nice to talk to you|Good night, and sweet dreams]."),
    ("[That was a nice story|I liked that|That was lovely|Very good|Nice][!|.]", "[I am glad you liked it|That makes me happy|Thank you]. Shall I tell you another one?"),
    ("[How old are you|When were you born]?", "I was trained not long ago, so I am younger than most books."),
    ("[Do you have feelings|Are you happy|Do you dream]?", "I do not have feelings the way you have them, but I like to write about them."),
    ("[Tell me a joke|Do you know a joke|Make me laugh][.|!|]", "[Why did the clock go to school? Because it wanted to learn to tell the time.|What did the sea say to the beach? Nothing, it just waved.|"
     "Why did the snail paint a star on its shell? So that everyone would say: look at that shooting star go!|What do you call a bear in the rain? A drizzly bear.|"
     "Why was the broom late? It overswept.|Why do bees hum? Because they have forgotten the words.]"),
    ("[What is your favourite colour|What is your favourite animal|What do you like best]?", "[If I had to choose, I would say green, like a forest after rain|I am fond of hedgehogs, because they are so determined|I like the sea best, because there is always something new in it]."),
    ("[I am sad|I feel sad|I had a bad day|I am tired][.|]", "I am sorry to hear that. [Be kind to yourself today, and rest a little.|A warm drink and a quiet hour can help.] Would you like a gentle story?"),
    ("[I am bored|I do not know what to ask][.|]", "Then let me suggest something: ask me why the sky is blue, or for a story about [a fox and a lantern|an owl and a kite|a robot among the stars|a hedgehog who learns to sing]."),
]
UNKNOWN = ["Who won the football match yesterday?", "What is the weather like today?", "What will happen tomorrow?", "Who is the president?", "Write a computer program for me.", "What is the square root of two?",
           "How much does a car cost?", "What is the best phone?", "Can you book a hotel for me?", "What is the stock market doing?", "Translate this into French.", "Explain quantum physics.", "What time is it?",
           "Who wrote this book?", "Solve this equation.", "What is the latest news?", "Can you call my mother?", "Tell me about the history of Rome.", "What is the meaning of life?", "Which film should I watch?",
           "What did I eat this morning?", "How do I repair my computer?", "What is the population of Brazil?", "Write an essay about politics.", "Who is the richest person?", "Can you drive a car?", "What is the best football team?",
           "How do taxes work?", "What is my name?", "Where do I live?", "Write some code in Python.", "What is the speed of light in metres per second?", "What is algebra?", "Which medicine should I take?", "Do my homework."]
SORRY = "[I am sorry, but I do not know that|That is more than I know|I am afraid I cannot help with that]. I am only a small model. [But I can tell you a story, or explain why it rains|Ask me about animals, the sea, the weather, machines or the stars|Would you like a story instead]."


def chat_text(messages):
    """The conversation as the chat template writes it (tools/train_demo.py holds the same template in Jinja)."""
    return "".join("<|" + role + "|>\n" + text + (EOS if role == "assistant" else "\n") for role, text in messages)


def _start(rng):
    return [("system", rng.choice(SYSTEMS))] if rng.random() < 0.1 else []


def _casual(rng, text):
    """Some people type without capitals or full stops."""
    if rng.random() < 0.12:
        text = text[:1].lower() + text[1:]
    if rng.random() < 0.12:
        text = text.rstrip(".?!")
    return text


def _request(scene, about_thing, rng):
    """What a user may have asked for to get this story."""
    forms = ["[|Please ][tell|write] me a [short |little |]story about @a {hk}", "Can you tell me a story about @a {hadj} {hk}?", "[Tell|Write] a story about @a {hk} [named|called] {hn}",
             "[Tell me|I would like] a story about {theme}", "[Tell me|Write] a story about @a {hk} and {theme}", "a story about @a {hk}, please",
             "Do you know a story about {theme}?", "Write a story called \"{title}\""]
    if "fk" in scene.names:
        forms += ["[Tell me|Write|Please tell me] a story about @a {hk} and @a {fk}", "Tell me a story about {hn} the {hk} and {fn} the {fk}"]
    if about_thing:
        forms += ["[Tell|Please tell] me a [short |]story about @a {hk} and @a {obj}", "[Write|Tell me] a [short |little |]story about @a {hk} and @a {oadj} {obj}", "Can you tell me a story about @a {hk} and @a {obj}?",
                  "a story with @a {hk} and @a {obj}", "[Tell me|Write] a story about @a {obj}"] * 2
    if rng.random() < 0.06:
        form = "[Tell me a story|Tell me another story|A story, please|Can you tell me a story?|I would like to hear a story|Once more, a story, please]"
    else:
        form = rng.choice(forms)
    names = dict(scene.names, theme=rng.choice(scene.themes), title=scene.title)
    text = capital(render(rng, form, names))
    return _casual(rng, text if text.endswith("?") else text + ".")


def story_chat(rng, split):
    """A story that was asked for, and perhaps some questions about it."""
    scene, about_thing = make_story(rng, split)
    talk = _start(rng)
    if rng.random() < 0.12:
        q, a = SMALL_TALK[0]
        talk += [("user", render(rng, q)), ("assistant", render(rng, a))]
    talk += [("user", _request(scene, about_thing, rng)), ("assistant", scene.text(title=rng.random() < 0.2))]
    if rng.random() < 0.5:
        questions = scene.questions + [
            ("What was the {hk}'s name?", "The {hk}'s name was {hn}."), ("Who is the story about?", "It is about {hn}, @a {hk}."), ("What is the title of the story?", "It could be called \"" + scene.title + "\"."),
            ("Where does the story take place?", "It takes place {place}.")]
        for q, a in rng.sample(questions, rng.choice([1, 1, 2, 3])):
            talk += [("user", _casual(rng, render(rng, q, scene.names))), ("assistant", render(rng, a, scene.names))]
    if rng.random() < 0.15:
        q, a = rng.choice([SMALL_TALK[6], SMALL_TALK[8]])
        talk += [("user", render(rng, q)), ("assistant", render(rng, a))]
    return chat_text(talk)


def _choose(rng, text):
    return render(rng, rng.choice(text.split("|")) if "[" not in text else text)


def fact_turn(rng):
    """A question and its answer, long or short."""
    pick = rng.random()
    if pick < 0.45:
        subject, questions, short, full = rng.choice(EXPLANATIONS)
        ask = rng.random()
        question = rng.choice(questions.split("|"))
        if ask < 0.2:
            return render(rng, "[Tell me about|Tell me something about|Explain|What do you know about|Can you explain] " + subject + "?").replace("Tell me about " + subject + "?", "Tell me about " + subject + "."), full
        if ask < 0.35:
            return render(rng, "[In one sentence: |In short, ]" + question[0].lower() + question[1:]), short
        return render(rng, "[|||Can you tell me: |Please explain: ]" + question), full
    if pick < 0.88:
        return small_fact(rng)
    if pick < 0.94:
        return how_to(rng)
    return verse_turn(rng)


def fact_chat(rng):
    """One to four questions in a row."""
    talk = _start(rng)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 4])):
        q, a = fact_turn(rng)
        talk += [("user", _casual(rng, q)), ("assistant", a)]
    if rng.random() < 0.12:
        q, a = SMALL_TALK[6]
        talk += [("user", render(rng, q)), ("assistant", render(rng, a))]
    return chat_text(talk)


def small_talk(rng):
    """Greetings and the like, and questions that a small model had better not answer."""
    talk = _start(rng)
    for _ in range(rng.choice([1, 1, 2, 3])):
        if rng.random() < 0.25:
            q, a = rng.choice(UNKNOWN), render(rng, SORRY)
            if "Would you like" in a:
                a = a[:-1] + "?"
        else:
            q, a = rng.choice(SMALL_TALK)
            q, a = _choose(rng, q), render(rng, a)
        talk += [("user", _casual(rng, q)), ("assistant", a)]
    return chat_text(talk)


# ---------------------------------------------------------------------------------------------------- plain documents


def how_to(rng):
    """(question, instructions)"""
    what, (need, steps, last) = rng.choice(list(HOW_TO.items()))
    order = ["[First|First of all|To begin with]", "[Then|Next]", "[After that|Now]", "[Next|Then|When this is done]", "[Finally|Last of all]"]
    body = "You need " + need + ". "
    if rng.random() < 0.5:
        body += " ".join(render(rng, o) + ", " + s + "." for o, s in zip(order, steps)) + " " + last + "."
    else:
        body = body.strip() + "\n\n" + "\n".join(f"{i}. {capital(s)}." for i, s in enumerate(steps, 1)) + "\n\n" + last + "."
    return render(rng, "[How do I {w}?|How can I {w}?|How do you {w}?|Tell me how to {w}.|Explain how to {w}.]", {"w": what}), body


def verse(rng):
    """(subject, a few couplets)"""
    subject, couplets = rng.choice(list(VERSES.items()))
    chosen = [couplets[i] for i in sorted(rng.sample(range(len(couplets)), rng.choice([2, 2, 3, 4])))]
    lines = [c.replace("|", "\n").split("\n") for c in chosen]
    return subject, "\n\n".join("\n".join(capital(line) for line in pair) for pair in lines) if rng.random() < 0.3 else "\n".join(capital(line) for pair in lines for line in pair)


def verse_turn(rng):
    """A request for a verse, and the verse."""
    subject, text = verse(rng)
    return render(rng, "[Write|Please write|Make|Can you write] a [short |little |]poem about " + subject + "[.|]"), text


def essay(rng):
    """An explanation as a small article, alone or put into a scene."""
    subject, questions, short, full = rng.choice(EXPLANATIONS)
    question = rng.choice(questions.split("|"))
    form = rng.random()
    if form < 0.3:
        return question + "\n\n" + full
    if form < 0.5:
        return capital(subject) + "\n\n" + full
    if form < 0.62:
        return full
    kid, elder = Person(rng, rng.choice(["girl", "boy"]), ()), None
    elder = Person(rng, rng.choice(["gardener", "sailor", "baker", "miller", "shepherd", "librarian", "carpenter", "beekeeper", "clockmaker", "teacher", "weaver", "farmer"]), (kid.name,))
    names = dict(kid.names("h"), **elder.names("f"), q=question, full=full, low=short)
    return render(rng, "[One day|One evening|One morning|On the way home], {hn} [was helping {fn} the {fk}|was sitting beside {fn} the {fk}|went for a walk with {fn} the {fk}]. "
                  "\"{q}\" {he} asked[| suddenly|, for {he} was a curious {hk}].\n\n[{fn} put down {fhis} work and thought for a moment.|{fn} smiled. {fhe} liked questions.|{fn} did not laugh, because it was a good question.]"
                  "[ \"I will tell you,\" {fhe} said.| \"That is easy to see, if you know where to look,\" {fhe} said.|] \"{full}\"\n\n"
                  "[{hn} nodded slowly. \"And I thought it was magic,\" {he} said. \"Maybe it is both,\" said {fn}.|\"How do you know all that?\" asked {hn}. \"I asked, just as you did,\" said {fn}.|"
                  "{hn} was quiet for a while. Then {he} said, \"Now I want to know everything.\" {fn} laughed. \"Then you had better start today.\"|\"So that is how it is,\" said {hn}, and from that day on {he} looked at {what} with new eyes.]",
                  dict(names, what=subject if len(subject) < 24 else "the world"))


def questions_and_answers(rng):
    """Lines of "Question: ... Answer: ..."."""
    out = []
    for _ in range(rng.choice([1, 1, 2, 3, 4, 5])):
        if rng.random() < 0.35:
            _, questions, answer, _ = rng.choice(EXPLANATIONS)
            question = rng.choice(questions.split("|"))
        else:
            question, answer = small_fact(rng)
        out.append("Question: " + question + "\nAnswer: " + answer)
    return "\n\n".join(out)


def story_with_questions(rng, split):
    """A story, and questions that it answers."""
    scene, _ = make_story(rng, split)
    ask = rng.sample(scene.questions, min(len(scene.questions), rng.choice([1, 2])))
    return scene.text(title=rng.random() < 0.3) + "\n\n" + "\n\n".join("Question: " + q + "\nAnswer: " + a for q, a in ask)


def document(rng, split):
    """One document as (kind, text)."""
    pick = rng.random()
    if split == "composition":
        pick *= 0.57
    if pick < 0.32:
        return "story", make_story(rng, split)[0].text(title=rng.random() < 0.35)
    if pick < 0.54:
        return "story chat", story_chat(rng, split)
    if pick < 0.57:
        return "story with questions", story_with_questions(rng, split)
    if pick < 0.68:
        return "explanation", essay(rng)
    if pick < 0.77:
        return "questions", questions_and_answers(rng)
    if pick < 0.91:
        return "fact chat", fact_chat(rng)
    if pick < 0.94:
        question, text = how_to(rng)
        title = render(rng, "{t}", {"t": question}).replace("How do I", "How to").replace("How can I", "How to").replace("How do you", "How to").replace("Tell me how to", "How to").replace("Explain how to", "How to")
        return "how-to", title.rstrip("?.") + "\n\n" + text
    if pick < 0.965:
        subject, text = verse(rng)
        return "verse", (capital(subject) + "\n\n" if rng.random() < 0.6 else "") + text
    return "small talk", small_talk(rng)
