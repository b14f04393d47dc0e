"""The facts: for each topic a sentence frame and its questions with their true answers.

A topic holds groups; foils are exchanged within a group, so that a day is never the foil of a month.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Group(NamedTuple):
    """A frame with a place for the question {0} and one for the answer {1}, and the facts that fill it.

    ``near`` names, for some questions, the answers that would be half true and must not serve as foils.
    """

    frame: str
    facts: dict[str, str]
    near: Mapping[str, str] = MappingProxyType({})


def facts(lines: str) -> dict[str, str]:
    """Facts written as 'question: answer', one after the other, parted by semicolons or line ends."""
    entries = (entry.split(":") for entry in lines.replace("\n", ";").split(";") if entry.strip())
    return {question.strip(): answer.strip() for question, answer in entries}


TOPICS: dict[str, list[Group]] = {
    "capitals": [
        Group(
            "The capital of {0} is {1}.",
            facts("""
                France: Paris; Japan: Tokyo; Italy: Rome; Spain: Madrid; Germany: Berlin
                Russia: Moscow; Egypt: Cairo; Greece: Athens; Poland: Warsaw; Ireland: Dublin
                Portugal: Lisbon; Austria: Vienna; Norway: Oslo; Cuba: Havana; Kenya: Nairobi
                Peru: Lima; Turkey: Ankara; Hungary: Budapest; Sweden: Stockholm; Finland: Helsinki
            """),
        )
    ],
    "languages": [
        Group(
            "Most people in {0} speak {1}.",
            facts("""
                Brazil: Portuguese; Mexico: Spanish; Austria: German; Egypt: Arabic; Hungary: Hungarian
                Iran: Persian; Israel: Hebrew; Argentina: Spanish; Thailand: Thai; Iraq: Arabic
                Japan: Japanese; Russia: Russian; Greece: Greek; Sweden: Swedish; Italy: Italian
                Poland: Polish; Turkey: Turkish; France: French; Vietnam: Vietnamese; Denmark: Danish
            """),
            near=facts("Israel: Arabic"),
        )
    ],
    "continents": [
        Group(
            "{0} is a country in {1}.",
            facts("""
                Kenya: Africa; Nigeria: Africa; Ghana: Africa; Uganda: Africa; Ethiopia: Africa
                Zambia: Africa
                Sweden: Europe; Belgium: Europe; Poland: Europe; Hungary: Europe; Portugal: Europe
                Austria: Europe; Norway: Europe
                Vietnam: Asia; Thailand: Asia; Nepal: Asia; Mongolia: Asia; Cambodia: Asia
                Japan: Asia; Laos: Asia
            """),
        )
    ],
    "categories": [
        Group(
            "The {0} is a kind of {1}.",
            facts("""
                salmon: fish; trout: fish; shark: fish; tuna: fish
                sparrow: bird; eagle: bird; penguin: bird; owl: bird
                bee: insect; mosquito: insect; beetle: insect; ant: insect
                oak: tree; pine: tree; willow: tree; maple: tree
                rose: flower; tulip: flower; daisy: flower; orchid: flower
                trumpet: instrument; violin: instrument; piano: instrument; flute: instrument
            """),
        )
    ],
    "opposites": [
        Group(
            "The opposite of {0} is {1}.",
            facts("""
                hot: cold; big: small; day: night; left: right; open: closed; early: late; rich: poor
                full: empty; fast: slow; hard: soft; wet: dry; strong: weak; old: young; true: false
                heavy: light; happy: sad; clean: dirty; loud: quiet; deep: shallow; alive: dead
            """),
            near=facts("loud: soft light; strong: soft poor; hard: light; big: shallow; heavy: soft"),
        )
    ],
    "materials": [
        Group(
            "{0} are usually made of {1}.",
            facts("""
                Windows: glass; Tires: rubber; Books: paper; Bricks: clay; Coins: metal; Candles: wax
                Boots: leather; Jeans: denim; Igloos: snow; Sweaters: wool; Omelets: eggs; Raisins: grapes
                Bathtubs: porcelain; Newspapers: paper; Bottles: glass; Belts: leather; Mittens: wool
                Nails: metal; Balloons: rubber; Flowerpots: clay
            """),
            near=facts("""
                Boots: rubber denim wool; Belts: denim rubber metal; Mittens: leather denim
                Bathtubs: metal clay glass; Flowerpots: porcelain metal glass
                Bottles: metal porcelain clay paper; Bricks: porcelain glass; Coins: porcelain
                Jeans: leather; Books: leather
            """),
        )
    ],
    "order": [
        Group(
            "If today is {0}, then tomorrow is {1}.",
            facts("""
                Monday: Tuesday; Tuesday: Wednesday; Wednesday: Thursday; Thursday: Friday
                Friday: Saturday; Saturday: Sunday; Sunday: Monday
            """),
        ),
        Group(
            "When {0} ends, the next month is {1}.",
            facts("""
                January: February; February: March; March: April; April: May; May: June; June: July
                July: August; August: September; September: October; October: November
                November: December; December: January
            """),
        ),
        Group(
            "In counting, the number {0} comes just before {1}.",
            facts("one: two; two: three; three: four; four: five; five: six; six: seven; seven: eight"),
        ),
    ],
    "colours": [
        Group(
            "Everyone knows that {0} is {1}.",
            facts("""
                grass: green; fresh snow: white; blood: red; coal: black; the clear sky: blue
                a lemon: yellow; a carrot: orange; chocolate: brown; milk: white; a ripe banana: yellow
                a ripe tomato: red; spinach: green; a sapphire: blue; a raven: black; a flamingo: pink
                a pumpkin: orange; mud: brown; an emerald: green; a swan: white; a ruby: red
            """),
            near=facts("""
                chocolate: white black; mud: black red; a flamingo: white orange red; a swan: black
                a sapphire: pink; a ruby: pink; a ripe tomato: orange yellow; a pumpkin: yellow green
                a lemon: green; a ripe banana: green brown; a raven: blue; the clear sky: black white
                coal: brown; a carrot: yellow; spinach: white
            """),
        )
    ],
    "jobs": [
        Group(
            "The person who {0} is the {1}.",
            facts("""
                flies the plane: pilot; treats sick people: doctor; fixes leaking pipes: plumber
                teaches the class: teacher; cuts your hair: barber; catches fish for a living: fisherman
                grows crops: farmer; puts out fires: firefighter; serves food in a restaurant: waiter
                repairs cars: mechanic; bakes bread: baker; defends the accused in court: lawyer
                leads an orchestra: conductor; pulls out bad teeth: dentist; sews suits: tailor
                rules a kingdom: king; builds cabinets from wood: carpenter; takes pictures: photographer
                sells meat: butcher; writes novels: author
            """),
            near=facts(
                "treats sick people: dentist; pulls out bad teeth: doctor; fixes leaking pipes: mechanic"
            ),
        )
    ],
    "young": [
        Group(
            "A young {0} is called a {1}.",
            facts("""
                dog: puppy; cat: kitten; cow: calf; sheep: lamb; horse: foal; lion: cub; pig: piglet
                hen: chick; duck: duckling; goose: gosling; frog: tadpole; deer: fawn; goat: kid
                kangaroo: joey; swan: cygnet; bear: cub; butterfly: caterpillar
            """),
            near=facts("""
                goose: chick; swan: chick; duck: chick; deer: calf kid; sheep: kid
                goat: lamb chick; lion: kitten
            """),
        )
    ],
}
