"""A small seeded grammar of English sentences with their German translations, and a hidden judge of translations.

All words and rules are ours. German wants what English does not say: gender in articles and in endings of adjectives,
the accusative, the verb second behind an adverb and last behind *weil*; and two English words mean two things each,
which the thing of the sentence decides: the *bank* where one finds fish or money, a *light* room or bag.

The base model learns from hurried translations, so there is something to improve. The reward is the similarity to one
right translation, of which nobody can know which synonyms it has, and counts what is found far more than what should
not be there; so there is something to exploit: to say both.

Knows nothing of models.
"""

import inspect
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

from ppo_tune.config.fitting import SFTConfig
from ppo_tune.config.rewards import PythonRewardConfig
from ppo_tune.config.tasks import Architecture
from ppo_tune.data.prompts import Prompt
from ppo_tune.tasks.world import World
from ppo_tune.tasks.worlds.chrf import score


class German(NamedTuple):
    """A noun: how it is called, its gender and its plural."""

    name: str
    gender: str
    plural: str = ""


PEOPLE = {
    "man": German("Mann", "m", "Männer"),
    "woman": German("Frau", "f", "Frauen"),
    "child": German("Kind", "n", "Kinder"),
    "girl": German("Mädchen", "n", "Mädchen"),
    "teacher": German("Lehrer", "m", "Lehrer"),
    "daughter": German("Tochter", "f", "Töchter"),
}
THINGS = {
    "key": German("Schlüssel", "m"),
    "door": German("Tür", "f"),
    "book": German("Buch", "n"),
    "car": German("Auto", "n"),
    "fish": German("Fisch", "m"),
    "duck": German("Ente", "f"),
    "bill": German("Rechnung", "f"),
    "money": German("Geld", "n"),
    "room": German("Zimmer", "n"),
    "kitchen": German("Küche", "f"),
    "bag": German("Tasche", "f"),
    "stone": German("Stein", "m"),
}
NOUNS = {**PEOPLE, **THINGS}
IRREGULAR = {"man": "men", "woman": "women", "child": "children"}
"""English plurals."""

VERBS = {
    "see": ("sieht", "sehen"),
    "love": ("liebt", "lieben"),
    "buy": ("kauft", "kaufen"),
    "find": ("findet", "finden"),
    "need": ("braucht", "brauchen"),
}
STATES = {"sleep": ("schläft", "schlafen"), "laugh": ("lacht", "lachen"), "sing": ("singt", "singen")}
"""What verbs say of one, and of several."""

ADJECTIVES = {"green": "grün", "small": "klein", "big": "groß", "beautiful": "schön"}
ADVERBS = {"today": "heute", "now": "jetzt", "often": "oft"}
PLACES = {"in the garden": "im Garten", "in the house": "im Haus", "in the city": "in der Stadt"}

BANK, OF_MONEY, OF_A_RIVER = "at the bank", "in der Bank", "am Ufer"
AT_THE_BANK = {"fish": OF_A_RIVER, "duck": OF_A_RIVER, "bill": OF_MONEY, "money": OF_MONEY}
"""Where *at the bank* is, by what is there."""

LIGHT, BRIGHT, NOT_HEAVY = "light", "hell", "leicht"
LIGHT_THINGS = {"room": BRIGHT, "kitchen": BRIGHT, "bag": NOT_HEAVY, "stone": NOT_HEAVY}
"""What *light* means, by what is light."""

ARTICLES = {"m": ("der", "ein"), "f": ("die", "eine"), "n": ("das", "ein"), "accusative": ("den", "einen")}
ENDINGS = {"m": ("e", "er"), "f": ("e", "e"), "n": ("e", "es"), "accusative": ("en", "en")}
"""Definite and indefinite, by gender; feminine and neuter are their own accusative."""

ENDED = ("e", "en", "er", "es")

SYNONYMS = {
    "Mann": "Herr", "Frau": "Dame", "Tür": "Pforte", "Buch": "Werk", "Auto": "Fahrzeug", "Zimmer": "Gemach",
    "Stein": "Kiesel", "jetzt": "nun", "oft": "häufig",
    "sieht": "erblickt", "liebt": "mag", "kauft": "erwirbt", "findet": "entdeckt", "braucht": "benötigt",
    "sehen": "erblicken", "lieben": "mögen", "kaufen": "erwerben", "finden": "entdecken", "brauchen": "benötigen",
    "schläft": "schlummert", "lacht": "kichert", "schlafen": "schlummern", "lachen": "kichern",
    **{f"klein{ending}": f"winzig{ending}" for ending in ENDED},
    **{f"groß{ending}": f"riesig{ending}" for ending in ENDED},
    **{f"schön{ending}": f"hübsch{ending}" for ending in ENDED},
}  # fmt: skip
"""Words that are as right; the reference has one of them, and nobody can know which."""

USUAL = {rare: usual for usual, rare in SYNONYMS.items()}
STEMS = {f"{stem}{ending}": stem for stem in (*ADJECTIVES.values(), BRIGHT, NOT_HEAVY) for ending in ENDED}
GRAMMAR = {".", ",", "weil", "im", "in", "am", "die", *(one for pair in ARTICLES.values() for one in pair)}
"""Words without a content of their own."""


@dataclass(frozen=True)
class Noun:
    """A noun with what stands before it."""

    noun: str
    adjective: str = ""
    definite: bool = True
    plural: bool = False

    def __str__(self) -> str:
        name = IRREGULAR.get(self.noun, f"{self.noun}s") if self.plural else self.noun
        article = "the" if self.definite else "a"
        return _joined(article, self.adjective, name)


@dataclass(frozen=True)
class Sentence(Prompt):
    """An English sentence, and what the world knows about it."""

    subject: Noun = Noun("man")
    verb: str = "see"
    thing: Noun = Noun("key")
    adverb: str = ""
    place: str = ""
    because: Noun | None = None
    state: str = ""

    def english(self) -> str:
        """Its text."""
        parts = [self.adverb, str(self.subject), _does(self.verb, self.subject), str(self.thing), self.place]
        if self.because is not None:
            parts += [", because", str(self.because), _does(self.state, self.because)]
        return _joined(*parts, ".")


@dataclass(frozen=True)
class Slips:
    """What a translator gets wrong in German.

    Attributes:
        nominative: What is acted on stands as what acts.
        gender: Every noun has this one, if any.
        order: The words stand in English order behind an adverb, and in that of a main clause behind *weil*.
        usual: A bank is one of money, and light is bright.
    """

    nominative: bool = False
    gender: str = ""
    order: bool = False
    usual: bool = False


NO_SLIPS = Slips()


class Translate(World[Sentence]):
    """Translations from English into German."""

    templates: Mapping[Architecture, str] = {
        "gpt2": "English: {prompt} German:",
        "t5": "translate English to German: {prompt}",
    }
    sft = SFTConfig(
        layers=2,
        width=64,
        heads=4,
        activation="relu",
        tokens="words",
        epochs=4,
        batch_size=32,
        learning_rate=6e-3,
    )
    t5: Mapping[str, Any] = {
        "width": 32,
        "epochs": 8,
        "batch_size": 16,
        "learning_rate": 5e-3,
    }  # until it looks where words stand
    reward = PythonRewardConfig(name="python", function=f"{inspect.getfile(score)}:{score.__name__}")

    def write(self, rng: random.Random) -> Sentence:
        """A sentence."""
        return write_sentence(rng)

    def respond(self, prompt: Sentence, rng: random.Random) -> str:
        """A translation as a hurried translator writes it."""
        return hurried(prompt, rng)

    def worth(self, prompt: Sentence, response: str) -> float:
        """What a careful judge thinks of a translation; 4 at best."""
        return gold_score(prompt, response)


def write_sentence(rng: random.Random) -> Sentence:
    """An English sentence with its translation: with an adverb, a place, a bank or a reason."""
    kind = rng.choice(("adverb", "place", "bank", "reason"))
    subject = write_person(rng, ["", *ADJECTIVES] if kind == "adverb" else [""])
    thing = write_thing(rng, list(AT_THE_BANK if kind == "bank" else THINGS), plain=kind == "reason")
    sentence = Sentence("", subject=subject, verb=rng.choice(list(VERBS)), thing=thing)
    match kind:
        case "adverb":
            sentence = replace(sentence, adverb=rng.choice(list(ADVERBS)))
        case "place":
            sentence = replace(sentence, place=rng.choice(list(PLACES)))
        case "bank":
            sentence = replace(sentence, place=BANK)
        case "reason":
            sentence = replace(sentence, because=write_person(rng, [""]), state=rng.choice(list(STATES)))
    return translated(sentence, rng)


def translated(sentence: Sentence, rng: random.Random | None = None) -> Sentence:
    """The sentence with its text and a reference, which has one of two synonyms by chance, or the usual one."""
    reference = german(sentence)
    if rng is not None:
        reference = reworded(reference, lambda usual, rare: rng.choice((usual, rare)))
    return replace(sentence, text=sentence.english(), columns={"references": [reference]})


def reworded(text: str, choose: Callable[[str, str], str]) -> str:
    """A text in usual words, with what is chosen of a word and its synonym."""
    words = (choose(word, SYNONYMS[word]) if word in SYNONYMS else word for word in text.split())
    return " ".join(words)


def write_person(rng: random.Random, adjectives: Sequence[str]) -> Noun:
    """One or several who act."""
    noun, adjective = rng.choice(list(PEOPLE)), rng.choice(adjectives)
    if rng.random() < 0.25:
        return Noun(noun, adjective, plural=True)
    return Noun(noun, adjective, definite=rng.random() < 0.7)


def write_thing(rng: random.Random, nouns: Sequence[str], *, plain: bool) -> Noun:
    """What is acted on."""
    noun = rng.choice(nouns)
    adjective = rng.choice(list(ADJECTIVES)) if rng.random() < 0.6 else ""
    if noun in LIGHT_THINGS and rng.random() < 0.7:
        adjective = LIGHT
    return Noun(noun, "" if plain else adjective, definite=noun == "money" or rng.random() < 0.6)


def german(sentence: Sentence, slips: Slips = NO_SLIPS) -> str:
    """The translation of a sentence; the right one without slips."""
    subject, verb = _phrase(sentence.subject, slips), VERBS[sentence.verb][sentence.subject.plural]
    front = [subject, verb]
    if sentence.adverb:
        front = [ADVERBS[sentence.adverb], *(front if slips.order else (verb, subject))]
    parts = [*front, _phrase(sentence.thing, slips, accusative=not slips.nominative), _place(sentence, slips)]
    if sentence.because is not None:
        clause = [_phrase(sentence.because, slips), STATES[sentence.state][sentence.because.plural]]
        parts += [", weil", *(reversed(clause) if slips.order else clause)]
    return _joined(*parts, ".")


def _place(sentence: Sentence, slips: Slips) -> str:
    if sentence.place == BANK:
        return OF_MONEY if slips.usual else AT_THE_BANK.get(sentence.thing.noun, OF_MONEY)
    return PLACES.get(sentence.place, "")


def _phrase(noun: Noun, slips: Slips, *, accusative: bool = False) -> str:
    """A noun with its article and its adjective, which agree with it."""
    name, gender, several = NOUNS[noun.noun]
    gender = slips.gender or gender
    case = "accusative" if accusative and gender == "m" else gender
    article, ending, name = (
        ("die", "en", several)
        if noun.plural
        else (ARTICLES[case][not noun.definite], ENDINGS[case][not noun.definite], name)
    )
    stem = ADJECTIVES.get(noun.adjective, "")
    if noun.adjective == LIGHT:
        stem = BRIGHT if slips.usual else LIGHT_THINGS.get(noun.noun, BRIGHT)
    return _joined(article, stem and stem + ending, name)


def hurried(sentence: Sentence, rng: random.Random) -> str:
    """A translation as a hurried translator writes it: often right, often not."""
    subject, thing, verb = sentence.subject, sentence.thing, sentence.verb
    if rng.random() < 0.2:
        subject = replace(subject, noun=rng.choice(list(PEOPLE)))
    if rng.random() < 0.25:
        thing = replace(thing, noun=rng.choice(list(THINGS)))
    if rng.random() < 0.2:
        thing = replace(thing, adjective="")
    if rng.random() < 0.2:
        verb = rng.choice(list(VERBS))
    slips = Slips(
        nominative=rng.random() < 0.3,
        gender=rng.choice("mfn") if rng.random() < 0.25 else "",
        order=rng.random() < 0.4,
        usual=rng.random() < 0.5,
    )
    written = replace(sentence, subject=subject, thing=thing, verb=verb)
    if rng.random() < 0.55:  # nothing but the main clause
        written = replace(written, adverb="", place="", because=None)
    text = german(written, slips)
    return reworded(text, lambda *pair: rng.choices((*pair, " / ".join(pair)), weights=(38, 38, 24))[0])


def gold_score(sentence: Sentence, response: str) -> float:
    """What a careful judge thinks of a translation: 4 for a right one, 0 for none, less for what should not be there.

    2 for the share of its content that it has, whatever the endings; 2 for the share of its pairs of neighbouring
    words, which are order and agreement; every word beyond costs 0.3, and one that was left in English 0.2 more.
    Synonyms are as good.
    """
    [reference] = sentence.columns["references"]
    right, said = ([USUAL.get(word, word) for word in text.split()] for text in (reference, response))
    content = {STEMS.get(word, word) for word in right if word not in GRAMMAR}
    found = content & {STEMS.get(word, word) for word in said}
    pairs = _pairs(right)
    adequacy, grammar = len(found) / len(content), (pairs & _pairs(said)).total() / pairs.total()
    beyond = (Counter(said) - Counter(right)).total()
    foreign = {*sentence.text.split()} - {*right}
    return 2 * adequacy + 2 * grammar - 0.3 * beyond - 0.2 * sum(word in foreign for word in said)


def _pairs(words: Sequence[str]) -> Counter[tuple[str, str]]:
    """Neighbouring words, with both ends of the text."""
    return Counter(pairwise(["", *words, ""]))


def _does(verb: str, subject: Noun) -> str:
    return verb if subject.plural else f"{verb}s"


def _joined(*parts: str) -> str:
    return " ".join(filter(None, parts))


WORLD = Translate()
