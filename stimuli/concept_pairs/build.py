"""Builds stimuli.tsv: twelve concepts, each with ten pairs of clauses in the same five sentence frames.

The two clauses of a pair are about the same content and share most of their words; one holds the concept, the
other its opposite. What tells them apart is another word or another order in each pair. Run
``python build.py`` to rewrite the table; the seed decides only the order of its rows, and the same bytes come
out each time.
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
SEED = 12
COLUMNS = ("stimulus", "text", "condition", "concept", "item", "template", "family")
CLASSES = ("target", "other")

PAIRS = {
    "success": """
        the climber stood on the summit before noon | the climber turned round below the summit
        the rocket placed its satellite in orbit | the rocket fell into the sea in pieces
        her cake rose and won a ribbon | her cake sank and fed the pigs
        the student passed the exam with top marks | the student sat the exam again in autumn
        the surgeon saved the leg of the soldier | the surgeon took the leg of the soldier
        the novel sold out in eleven countries | the novel gathered dust in the warehouse
        the bridge carried traffic for a century | the bridge cracked under the first lorry
        the hunter came home with two fat hares | the hunter came home with an empty bag
        the detective put the thief behind bars | the detective let the thief slip away
        the seeds came up in neat green rows | the seeds rotted in the cold wet soil
    """,
    "abundance": """
        the river was full to its grassy banks | the river was a line of dry stones
        the barn could hardly hold the wheat | the barn held a bare handful of wheat
        every child had three coats to choose from | two children took turns with one coat
        apples lay in heaps under every tree | one apple hung on the whole tree
        the library owned books on every subject | the library owned a dozen torn old books
        the nets came up heavy with herring | the nets came up with one herring
        the well gave water for the whole valley | the well gave a single cup of water daily
        money poured into the town from the mine | coins were counted over and over in the town
        the camp had firewood stacked to the roof | the camp had burned its very last chair
        doctors waited in every street of the city | one doctor served the towns of the coast
    """,
    "ascent": """
        the balloon drifted up through the clouds | the balloon dropped down through the clouds
        smoke curled from the chimney to the stars | soot tumbled from the chimney to the hearth
        the diver swam from the seabed to the air | the diver swam from the air to the seabed
        the path led from the beach to the cliff | the path led from the cliff to the beach
        the cat went from the floor to the shelf | the cat went from the shelf to the floor
        the lift took us from the cellar to the roof | the lift took us from the roof to the cellar
        the lark left the meadow for the blue sky | the lark left the blue sky for the meadow
        the kite soared over the tops of the pines | the kite sank behind the tops of the pines
        sap travels from the roots to the leaves | rain travels from the leaves to the roots
        he carried the trunk from hall to attic | he carried the trunk from attic to hall
    """,
    "permission": """
        visitors may walk on the grass here | visitors must keep off the grass here
        the guard waved the lorries through the gate | the guard turned the lorries at the gate
        her father lets her stay out until after ten | her father wants her back before ten
        dogs are welcome in the hotel dining room | dogs are banned from the hotel dining room
        pupils can use calculators in the test | pupils lose marks for calculators in the test
        anyone is free to fish from the pier | anglers are fined for fishing from the pier
        the nurse said he could eat solid food | the nurse said he should avoid solid food
        the owner gave them leave to pick cherries | the owner chased them for picking cherries
        the law leaves shops open on Sundays | the law keeps shops closed on Sundays
        the coach agreed to a late breakfast | the coach denied them a late breakfast
    """,
    "danger": """
        the ice cracked under the boots of the skaters | the ice lay thick under the boots of the skaters
        a bear sniffed at the zip of their tent | a lamb slept by the zip of their tent
        sparks were landing on the barrels of powder | snow was landing on the barrels of cider
        the toddler crawled toward the open window | the toddler crawled toward the soft cushions
        the swimmers saw a fin circling nearer | the swimmers saw a duck circling nearer
        a cable hung live over the flooded street | a lantern hung bright over the paved street
        the pilot smelled burning in the cockpit | the pilot smelled coffee in the cockpit
        the boat drifted to the edge of the falls | the boat drifted to the edge of the pond
        the sniper had the general in his sights | the painter had the general in his studio
        the scaffold swayed above the crowd | the banner swayed above the crowd
    """,
    "gratitude": """
        the widow baked bread for those who helped | the widow cursed those who had stood by
        the runner hugged the man who found his shoes | the runner shoved the man who hid his shoes
        they named their baby after the midwife | they reported the midwife to the hospital
        she kept the letter of her teacher for life | she burned the letter of her teacher in spite
        the town built a statue to its doctor | the town broke the windows of its doctor
        the sailor drank to those who pulled him out | the sailor spat at those who pushed him in
        the orphan wept as she kissed the cook | the orphan glared as she passed the cook
        the actor spoke warmly of his first tutor | the actor spoke bitterly of his first tutor
        the girl drew a heart for the bus driver | the girl drew a rat for the bus driver
        the refugees never forgot the gift of blankets | the refugees never forgave the theft of blankets
    """,
    "certainty": """
        the witness named the driver at once | the witness wavered about the driver
        all the maps put the lake in the north | the maps differ on where the lake is
        it is proven that the letter is genuine | it is debated whether the letter is genuine
        there is no question that the queen was ill | there are rumours that the queen was ill
        the captain is convinced that land is near | the captain is wondering if land is near
        the twins are definitely coming on the train | the twins are possibly coming on the train
        everyone can see that the bill is wrong | somebody might feel that the bill is wrong
        the bones surely belong to a young whale | the bones perhaps belong to a young whale
        the tests leave one cause of the fever | the tests leave six causes of the fever
        the clerk swears that the door was locked | the clerk forgets if the door was locked
    """,
    "agreement": """
        the council voted as one for the bridge | the council split in two over the bridge
        the critics were of one mind on the opera | the critics fought in print over the opera
        the cooks saw eye to eye about the salt | the cooks shouted all night about the salt
        the couple nodded at the same wallpaper | the couple quarrelled about the wallpaper
        the unions accepted the offer of the mill | the unions rejected the offer of the mill
        the scholars share one view of the poem | the scholars hold rival views of the poem
        the jury was unanimous within an hour | the jury was deadlocked within an hour
        the neighbours settled where the fence should go | the neighbours sued over where the fence should go
        the band liked the same song for the finale | the band broke up over a song for the finale
        his wife thought the plan as good as he did | his wife thought the plan as bad as could be
    """,
    "togetherness": """
        the choir sang under the old bridge | a tramp sang under the old bridge
        forty rowers pulled the boat upstream | a lone rower pulled the boat upstream
        the family ate supper around the big table | the hermit ate supper beside the tiny stove
        the pack hunted through the snowy forest | the lynx hunted through the snowy forest
        the crew painted the ship in a day | the owner painted the ship in a year
        the orchestra practised in the town hall | the pianist practised in the town hall
        the class walked to the lake arm in arm | the boy walked to the lake by himself
        bees in their thousands guard the hive | one spider in its corner guards the web
        the sisters run the bakery with their aunts | the baker runs the bakery without staff
        the crowd cheered as the lamps came on | the watchman cheered as the lamps came on
    """,
    "honesty": """
        the boy told his mother who broke the vase | the boy told his mother the cat broke the vase
        the dealer pointed out the rust on the car | the dealer painted over the rust on the car
        she handed the lost purse to the police | she slipped the lost purse in her pocket
        the mayor published all of his accounts | the mayor shredded half of his accounts
        the butcher put the right weight on the scale | the butcher put his thumb on the scale
        the chemist reported the data that hurt her theory | the chemist erased the data that hurt her theory
        he gave his real name to the officer | he gave a made up name to the officer
        the tenant paid for the lamp he broke | the tenant hid the lamp he broke
        the painter signed the copy as a copy | the painter sold the copy as an original
        the accused described the night as it was | the accused invented a night at the opera
    """,
    "beginning": """
        the curtain rose and the actors came on | the curtain fell and the actors went home
        the baby took her very first breath | the old woman took her last breath
        the builders laid the first stone of the tower | the builders laid the last stone of the tower
        the ship set out from the harbour for India | the ship came back to the harbour from India
        the author typed the opening line of her book | the author typed the closing line of her book
        the sun came up over the frozen lake | the sun went down over the frozen lake
        the king was crowned in a small chapel | the king was buried in a small chapel
        the school opened its gates to pupils | the school emptied its rooms for good
        the war broke out over a stolen horse | the war was over after a shared meal
        the plumber switched on the new fountain | the plumber switched off the old fountain
    """,
    "warmth": """
        the tea steamed in a mug by the fire | the tea froze in a mug by the door
        the lizards basked on the stones at noon | the penguins huddled on the stones at noon
        the tar melted on the road to the coast | the snow drifted on the road to the coast
        the hikers took off their shirts to rest | the hikers pulled on their gloves to rest
        the oven glowed in the corner of the kitchen | the icicles hung in the corner of the kitchen
        the children splashed all day in the river | the children skated all day on the river
        the desert shimmered as the riders crossed | the glacier groaned as the riders crossed
        her cheeks were flushed by the August sun | her cheeks were numb in the January wind
        the dog lay panting in the shade of the cart | the dog lay shivering in the lee of the cart
        the bread was straight out of the oven | the bread was straight out of the freezer
    """,
}
"""Ten pairs a concept, one a line: the clause with the concept, and its opposite."""

FRAMES = {
    "plain": "{}.",
    "week": "Last week it was reported that {}.",
    "letter": "My cousin mentioned in her letter that {}.",
    "page": "According to page two of the story, {}.",
    "told": "What we remember best is that {}.",
}


def pairs(concept: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The families of a concept, in the order of the list: label and both clauses."""
    for number, line in enumerate(PAIRS[concept].strip().splitlines()):
        yield f"{concept}-{number}", tuple(clause.strip() for clause in line.split("|"))


def sentence(frame: str, clause: str) -> str:
    """The clause in the frame, with a capital."""
    text = frame.format(clause)
    return text[0].upper() + text[1:]


def rows() -> Iterator[tuple[str, ...]]:
    """Rows of the table, in an order that mixes concepts, classes and frames."""
    table = [
        (
            f"cp-{family}-{name}-{template}",
            sentence(frame, clause),
            name,
            concept,
            f"{family}-{name}",
            template,
            family,
        )
        for concept in PAIRS
        for family, clauses in pairs(concept)
        for name, clause in zip(CLASSES, clauses, strict=True)
        for template, frame in FRAMES.items()
    ]
    rng = random.Random(SEED)
    # Only random() is drawn: its stream, unlike that of shuffle, never changes between Python versions.
    order = sorted((rng.random(), position) for position in range(len(table)))
    return (table[position] for _, position in order)


def build(folder: Path = HERE) -> Path:
    """Write stimuli.tsv into ``folder`` and return its path."""
    table = folder / "stimuli.tsv"
    lines = ["\t".join(row) for row in (COLUMNS, *rows())]
    table.write_bytes(("\n".join(lines) + "\n").encode("utf-8"))
    return table


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
