"""The neutral part of a review: one film's people and places, and sentences that only report.

Nothing here judges: the sentences use no sentiment word. Some use "not", "never", "very" or "but"
all the same, so that such a word means something only where it touches a judgement.
"""

from collections.abc import Iterable, Mapping
from random import Random
from types import MappingProxyType
from typing import Final, Literal

Scene = dict[str, str]
"""What every slot of a sentence stands for in one review, e.g. {"name": "Clara", ...}."""

Topic = Literal["plot", "craft", "viewing"]

_FEMALE: Final = {"she": "she", "her": "her", "them": "her"}
_MALE: Final = {"she": "he", "her": "his", "them": "him"}
_HEROES: Final = (
    *((name, _FEMALE) for name in ("Anna", "Clara", "Nora", "Ruth")),
    *((name, _MALE) for name in ("Tom", "Leo", "Hugo", "Ben")),
)
_SURNAMES: Final = ("Hale", "Marsh", "Lind", "Novak", "Reyes", "Okada", "Bell", "Costa")
_ROLES: Final = ("nurse", "teacher", "sailor", "writer", "farmer", "doctor", "lawyer", "singer")
_RELATIVES: Final = ("brother", "sister", "father", "mother", "friend")
_PLACES: Final = ("Lisbon", "Oslo", "Boston", "Paris", "the north", "the south", "the city")
_SPOTS: Final = ("house", "hotel", "church", "station", "library", "barn", "school", "bank")
_THINGS: Final = ("letter", "key", "map", "ring", "painting", "photograph")
_TIMES: Final = ("during the war", "after the war", "in the winter", "one summer", "in the fifties")
_FILMS: Final = ("film", "film", "movie", "movie", "picture")
_GENRES: Final = ("drama", "thriller", "comedy", "western", "mystery", "romance")
_COUNTS: Final = ("two", "three", "four", "six")

HERO_SENTENCES: Final = (
    "{name} is a {role} in {place}",
    "the story follows {name}, a {role} in {place}",
    "{name}, a {role}, returns to {place} {time}",
    "{name} lives in {place} with {her} {relative}",
    "the {film} follows {name}, a {role} who leaves {place} {time}",
    "the {genre} is about {name}, a {role}, and {her} {relative}",
    "a {role} called {name} comes to {place} to find {her} {relative}",
    "this is a {genre} about a {role} called {name}",
    "{time}, {name} opens a small hotel in {place}",
    "the first scene shows {name}, a {role}, at a {spot} at night",
)
"""The sentences that name the hero; one of them opens the plot."""

SENTENCES: Final[Mapping[Topic, tuple[str, ...]]] = MappingProxyType(
    {
        "plot": (
            "{name} has not seen {her} {relative} for {count} years",
            "the road to {place2} is very long",
            "{she} meets {a_other} on the train",
            "{name} finds {a_thing} in the {spot}",
            "{a_other} from {place2} looks for {a_thing}",
            "{a_other} asks {name} for help",
            "{a_thing} belongs to {her} {relative}",
            "{a_other} says that the {thing} is old",
            "{name} hides {a_thing} in the {spot}",
            "{her} {relative} knows about {a_thing}",
            "they drive to {place2} at night",
            "a storm closes the road to {place2}",
            "they wait at the {spot} until morning",
            "{she} wants to leave, but there is no train",
            "{her} {relative} does not answer the phone",
            "the police search the {spot}, but the {thing} is gone",
            "then {a_other} finds {a_thing}",
            "{a_other} never says where the money is",
            "{she} takes {a_thing} to {her} {relative}",
            "{a_other} leaves on the last train",
            "{name} sells the house and moves to {place2}",
            "{count} years later they meet again at the {spot}",
            "in the second half they all meet in {place2}",
            "the last scene shows the {spot} in the morning",
        ),
        "craft": (
            "{director} shot the {film} in {place2}",
            "{director} wrote the script with a friend",
            "{actor} plays {name}",
            "{actor} plays the {role} and {actor2} plays the {other}",
            "{actor2} plays the {other}",
            "the camera stays close to {name}",
            "most of the scenes were shot at night",
            "the {film} was shot in {count} weeks with very little money",
            "the {film} runs for about two hours",
            "the music was written for piano",
            "the script is based on an old play",
            "there is little dialogue in the first half",
            "the {film} was the first {genre} by {director}",
            "the whole story takes place in {count} days",
            "{director} also wrote the music",
            "half of the {film} was shot at a real {spot}",
        ),
        "viewing": (
            "I saw the {film} with my {mine}",
            "we watched the {film} at home on a Sunday night",
            "my {mine} had read the book",
            "I saw the {film} in a small cinema in {place3}",
            "there were only {count} people in the cinema",
            "I have not read the book",
            "I watched the {film} on the train to {place3}",
            "my {mine} had seen the {film} before, but I had not",
        ),
    }
)
"""What else a review reports, by topic; the plot in the order of events."""


def draw_scene(rng: Random) -> Scene:
    """Returns one film's slots: every sentence of a review speaks of the same people and places."""
    name, pronouns = rng.choice(_HEROES)
    role, other = rng.sample(_ROLES, 2)
    place, place2, place3 = rng.sample(_PLACES, 3)
    director, actor, actor2 = rng.sample(_SURNAMES, 3)
    relative, mine = rng.sample(_RELATIVES, 2)
    thing = rng.choice(_THINGS)
    return {
        "name": name,
        **pronouns,
        "role": role,
        "other": other,
        "a_other": f"a {other}",
        "thing": thing,
        "a_thing": f"a {thing}",
        "place": place,
        "place2": place2,
        "place3": place3,
        "director": director,
        "actor": actor,
        "actor2": actor2,
        "relative": relative,
        "mine": mine,
        "spot": rng.choice(_SPOTS),
        "time": rng.choice(_TIMES),
        "film": rng.choice(_FILMS),
        "genre": rng.choice(_GENRES),
        "count": rng.choice(_COUNTS),
    }


def write(sentences: Iterable[str], scene: Scene) -> str:
    """Returns the finished text: slots filled, capitals and full stops set.

    What is first spoken of as "a letter" or "a nurse" is "the letter", "the nurse" from then on.
    """
    slots = dict(scene)
    finished = []
    for sentence in sentences:
        text = sentence.format_map(slots)
        finished.append(f"{text[0].upper()}{text[1:]}.")
        for noun in ("other", "thing"):
            if f"{{a_{noun}}}" in sentence:
                slots[f"a_{noun}"] = f"the {slots[noun]}"
    return " ".join(finished)
