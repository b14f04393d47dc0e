"""Word lists of the minimal pairs: nouns with both numbers, and the predicates that suit them.

A noun is (singular, plural). A predicate is (verb with a singular subject, with a plural one, rest).
"""

Noun = tuple[str, str]
Predicate = tuple[str, str, str]


def regular(words: str) -> list[Noun]:
    """Nouns whose plural adds -s, or -es after a hiss."""
    return [(word, word + ("es" if word.endswith(("ch", "s", "x")) else "s")) for word in words.split()]


PEOPLE = regular(
    "teacher doctor farmer lawyer singer painter soldier student baker driver neighbor guest manager visitor "
    "sailor pilot tailor clerk actor nurse writer dancer gardener plumber carpenter poet"
)
PEOPLE_PREDICATES: list[Predicate] = [
    ("works", "work", "near the station"),
    ("lives", "live", "on the third floor"),
    ("smiles", "smile", "at the children"),
    ("sings", "sing", "after dinner"),
    ("walks", "walk", "to the market"),
    ("talks", "talk", "about the weather"),
    ("waits", "wait", "by the gate"),
    ("travels", "travel", "by train"),
    ("sleeps", "sleep", "until noon"),
    ("drinks", "drink", "tea with honey"),
    ("complains", "complain", "about the noise"),
    ("gets", "get", "up before dawn"),
    ("plays", "play", "cards in the garden"),
    ("writes", "write", "letters in the evening"),
    ("takes", "take", "the bus to town"),
    ("knows", "know", "the way to the lake"),
]
PEOPLE_ADJECTIVES = ["", "young ", "old ", "tall "]

# Heads with a preposition, attractors that may follow it, and the kind of predicate that suits the head.
PP_HEADS: list[tuple[Noun, str, list[Noun], str]] = [
    (("key", "keys"), "to the", regular("cabinet room garage drawer"), "thing"),
    (("label", "labels"), "on the", regular("bottle jar crate suitcase"), "thing"),
    (("door", "doors"), "behind the", regular("curtain counter statue staircase"), "thing"),
    (("picture", "pictures"), "of the", regular("mountain bridge castle horse"), "thing"),
    (("letter", "letters"), "from the", regular("lawyer bank hospital tenant"), "thing"),
    (("report", "reports"), "about the", regular("accident fire storm election"), "thing"),
    (("box", "boxes"), "under the", regular("table chair bench window"), "thing"),
    (("lamp", "lamps"), "beside the", regular("bed mirror sofa desk"), "thing"),
    (("fence", "fences"), "around the", regular("garden field park house"), "thing"),
    (("map", "maps"), "of the", regular("island forest river cave"), "thing"),
    (("owner", "owners"), "of the", regular("shop hotel boat restaurant"), "person"),
    (("friend", "friends"), "of the", regular("actor singer doctor farmer"), "person"),
    (("guard", "guards"), "behind the", regular("truck gate counter column"), "person"),
    (("teacher", "teachers"), "of the", regular("girl boy dancer student"), "person"),
    (("tourist", "tourists"), "beside the", regular("statue fountain bus tent"), "person"),
    (("driver", "drivers"), "of the", regular("truck taxi tractor van"), "person"),
]
PP_PREDICATES: dict[str, list[Predicate]] = {
    "thing": [
        ("is", "are", "missing"),
        ("was", "were", "very old"),
        ("looks", "look", "quite new"),
        ("was", "were", "damaged last winter"),
        ("is", "are", "shown on page nine"),
        ("seems", "seem", "familiar to everyone"),
    ],
    "person": [
        ("is", "are", "tired"),
        ("was", "were", "born in Canada"),
        ("has", "have", "two bicycles"),
        ("speaks", "speak", "several languages"),
        ("seems", "seem", "rather nervous"),
        ("was", "were", "late again"),
    ],
}

RELATIVE_HEADS = regular(
    "singer lawyer painter dancer farmer pilot writer actor clerk soldier gardener baker"
)
RELATIVE_ATTRACTORS = regular(
    "critic neighbor senator reporter customer student doctor guest tourist manager"
)
RELATIVE_VERBS = [
    "admired",
    "trusted",
    "avoided",
    "thanked",
    "invited",
    "recognized",
    "remembered",
    "ignored",
    "visited",
    "greeted",
]

NAMES = [
    "Anna",
    "Peter",
    "Maria",
    "Tom",
    "Julia",
    "David",
    "Sarah",
    "Paul",
    "Laura",
    "Simon",
    "Clara",
    "Martin",
]
# Sentence frames for a demonstrative: what can be done with which nouns.
DETERMINER_FRAMES: list[tuple[str, list[Noun], list[str]]] = [
    ("bought", regular("lamp jacket painting camera clock carpet mirror basket"), ["last week", "in Rome"]),
    ("visited", regular("museum castle island temple garden village school farm"), ["in May", "last year"]),
    ("read", regular("book letter poem article report novel recipe message"), ["on the train", "last night"]),
    ("repaired", regular("chair roof bicycle radio window engine door boat"), ["on Monday", "without help"]),
    ("fed", regular("horse rabbit dog cat duck goat donkey bird"), ["this morning", "before work"]),
    ("painted", regular("wall fence gate ceiling cupboard table shutter bench"), ["in April", "with care"]),
]
THING_ADJECTIVES = ["", "old "]
DEMONSTRATIVES = {0: ("this", "that"), 1: ("these", "those")}

GENDERED = {
    "himself": regular("king uncle boy father monk prince grandfather brother groom son"),
    "herself": regular("queen aunt girl mother nun widow grandmother daughter sister bride"),
}
REFLEXIVE_PREDICATES = [
    ("introduced", "to the guests"),
    ("saw", "in the mirror"),
    ("blamed", "for the delay"),
    ("hurt", "in the garden"),
    ("hid", "behind the curtain"),
    ("washed", "in the river"),
    ("prepared", "for the journey"),
    ("described", "in a letter"),
    ("warmed", "by the fire"),
    ("defended", "with a stick"),
    ("found", "in great danger"),
    ("locked", "in the bathroom"),
]

# Licensor and its non-licensing counterpart, and the auxiliary that agrees with both.
NPI_SUBJECTS: list[tuple[str, str, str]] = [
    ("No {}", "The {}", "have"),
    ("None of the {}", "Most of the {}", "have"),
    ("Few {}", "Many {}", "have"),
    ("Hardly any {}", "Nearly all {}", "have"),
    ("Nobody among the {}", "Somebody among the {}", "has"),
]
NPI_GROUPS = [
    "teachers",
    "doctors",
    "farmers",
    "lawyers",
    "students",
    "guests",
    "sailors",
    "pilots",
    "actors",
    "neighbors",
    "tourists",
    "painters",
]
NPI_PREDICATES = [
    "seen a whale",
    "visited the castle",
    "eaten snails",
    "slept in a tent",
    "met the president",
    "climbed that mountain",
    "missed the train",
    "broken a leg",
    "complained about the food",
    "lived in a big city",
]

IRREGULAR_PEOPLE: list[Noun] = [
    ("child", "children"),
    ("man", "men"),
    ("woman", "women"),
    ("wife", "wives"),
    ("thief", "thieves"),
    ("policeman", "policemen"),
    ("grandchild", "grandchildren"),
    ("businesswoman", "businesswomen"),
]
IRREGULAR_ANIMALS: list[Noun] = [
    ("mouse", "mice"),
    ("goose", "geese"),
    ("wolf", "wolves"),
    ("calf", "calves"),
    ("ox", "oxen"),
]
ANIMAL_PREDICATES: list[Predicate] = [
    ("sleeps", "sleep", "behind the barn"),
    ("drinks", "drink", "from the pond"),
    ("eats", "eat", "almost anything"),
    ("runs", "run", "across the field"),
    ("hides", "hide", "in the tall grass"),
    ("comes", "come", "closer every day"),
    ("needs", "need", "a warm place in winter"),
    ("looks", "look", "hungry"),
]

# Subject form, object form, number (0 singular, 1 plural).
PRONOUNS: list[tuple[str, str, int]] = [
    ("I", "me", 0),
    ("he", "him", 0),
    ("she", "her", 0),
    ("we", "us", 1),
    ("they", "them", 1),
]
SUBJECT_OPENERS = ["After lunch", "Last night", "On Friday", "Before sunrise", "Two weeks ago", "In the end"]
SUBJECT_PREDICATES = [
    "opened the old suitcase",
    "walked to the harbor",
    "found a wallet",
    "sold the red car",
    "cooked a large meal",
    "missed the bus",
    "swam across the lake",
    "left without a word",
    "painted the kitchen",
    "danced for hours",
]
OBJECT_OPENERS = ["", "Yesterday ", "That day "]
OBJECT_FRAMES = [
    "The doctor called {} after lunch",
    "My uncle taught {} how to swim",
    "The dog followed {} to the station",
    "Nobody saw {} in the garden",
    "The manager thanked {} for the help",
    "A stranger gave {} a map of the city",
    "The guide waited for {} at the gate",
    "The music reminded {} of home",
    "Her letter surprised {} very much",
    "Two boys sat behind {} on the train",
]
