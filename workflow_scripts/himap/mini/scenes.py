"""Scenes, the pictures of the embedded world: which glyph in which ink fills each of 12 x 12 cells, and the pixels of that.

Everything about a scene follows from its random numbers, and every split has its own: no test scene occurs in training.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field

import numpy as np

from himap.mini.glyphs import CELL, CLUTTER, COLOR_NAMES, FIRST_CLUTTER, GRAY, INDEX, INKS, MASKS, SHAPE_NAMES

SIDE = 12  # cells per side: 144 cells, one image token each
PIXELS = SIDE * CELL
SPLITS = {"train": 0, "validation": 1, "test": 2}  # first number of every seed, so that no two splits share one
KINDS = ("shapes", "few", "signs", "chart", "document", "sum")  # FROZEN: training draws a kind by its index


def _listed(text: str) -> tuple[str, ...]:
    """Split a text into its words."""
    return tuple(text.split())


# FROZEN like all lists here: a word is drawn by its index, so another order would be other pictures.
WORDS = _listed(
    "ACE ACT AIR ARM ART BAG BAR BED BIG BOX BUS CAB CAN CAR CAT COW CUP CUT DAY DEN DOG DRY EAR EAT EGG END EYE FAN FAR "
    "FIG FIT FLY FOX FUN GAS GEM GUM GYM HAT HEN HOT ICE INK INN JAM JET JOB JOY KEY KID KIT LAB LEG LID LOW MAP MIX MUD "
    "NET NEW NUT OAK OIL OLD OWL PAN PAY PEN PIG POT PUB RED ROW RUG RUN SEA SKY SUN TAX TEA TIN TOP TOY VAN WAX WEB WET "
    "YES ZOO BANK BARN BEEF BIKE BIRD BLUE BOAT BOOK CAFE CAKE CAMP CASH CITY CLUB COAL COLD DECK DESK DOOR DOWN DUCK EAST "
    "EXIT FARM FAST FERN FILM FIRE FISH FLAG FOOD FORK FREE FUEL GATE GIFT GOLD GOLF HALF HALL HAND HARP HELP HERB HIGH "
    "HILL HOME HOTEL IDEA IRON JAZZ JUMP KING KIWI LAKE LAMP LEFT LIFT LION LOCK MAIN MALL MAZE MENU MILK MINT MOON NEWS "
    "NEXT NORTH OPEN OVEN PARK PIANO PIZZA PLUM POOL PORT QUIZ RADIO RAIL RICE RING ROAD ROCK ROOF SALE SALT SEED SHIP SHOP "
    "SLOW SNOW SOAP SOUP STAR STOP SWIM TAXI TEAM TENT TILE TOLL TRAIN TREE UNIT VASE VIEW WALK WATER WEST WIND WOLF WOOD "
    "WORK YARD YOGA ZERO ZONE ZOOM"
)
PEOPLE = _listed("ANNA OTTO EMMA NOAH LEON MILA PAUL RUTH IVAN ZOE HUGO VERA KARL JUNE DORA FINN GINA BEN SAM LIZ")
CITIES = _listed("ROME OSLO PARIS LIMA BERN DELHI CAIRO KIEV QUITO MILAN TOKYO SEOUL RIGA BONN NICE")
ITEMS = _listed("BOOK LAMP DESK CHAIR PEN VASE TENT FORK RUG BIKE CLOCK SOFA TABLE MOUSE")
TEAMS = _listed("FOX OWL LION WOLF BEAR HAWK SHARK TIGER BULL CROW")
# None: the value is a number. Names have up to four letters and values up to five, so a line of a form fits into 12 cells.
FIELDS = {"NAME": PEOPLE, "CITY": CITIES, "ITEM": ITEMS, "TEAM": TEAMS, "COST": None, "ROOM": None, "DATE": None, "YEAR": None}  # fmt: skip
BAR_LABELS = "ABCDEFGH"
Cells = tuple[tuple[int, int], ...]  # row and column of each


@dataclass(frozen=True)
class Mark:
    """Hold a shape in a cell."""

    row: int
    column: int
    shape: str
    color: str

    @property
    def name(self) -> str:
        """Return the words that name it, such as "red circle"."""
        return f"{self.color} {self.shape}"

    @property
    def cells(self) -> Cells:
        """Return its cell."""
        return ((self.row, self.column),)


@dataclass(frozen=True)
class Word:
    """Hold letters or digits in adjacent cells of a row."""

    row: int
    column: int
    text: str
    color: str

    @property
    def cells(self) -> Cells:
        """Return the cells of its letters."""
        return tuple((self.row, self.column + offset) for offset in range(len(self.text)))


@dataclass(frozen=True)
class Bar:
    """Hold a bar of a chart: `value` cells high, with a letter under it."""

    column: int
    value: int
    color: str
    label: str

    @property
    def cells(self) -> Cells:
        """Return its cells, and the one of its label below them."""
        return tuple((row, self.column) for row in range(SIDE - 1 - self.value, SIDE))


@dataclass
class Scene:
    """Hold what a picture shows: `glyphs` and `colors` cell by cell, the lists by what it means."""

    kind: str
    marks: list[Mark] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    terms: tuple[int, int] | None = None  # of a sum, 1 to 9 each
    glyphs: np.ndarray = field(default_factory=lambda: np.zeros((SIDE, SIDE), dtype=np.int64))
    # [row, column]; 0 is the empty cell in `glyphs`, but red in `colors`: look at `glyphs` first.
    colors: np.ndarray = field(default_factory=lambda: np.zeros((SIDE, SIDE), dtype=np.int64))
    paint_seed: int = 0  # of everything that is not content: shifts, shades of ink, noise

    def put(self, row: int, column: int, glyph: str, color: str) -> None:
        """Fill one cell."""
        self.glyphs[row, column] = INDEX[glyph]
        self.colors[row, column] = COLOR_NAMES.index(color)

    def add_mark(self, row: int, column: int, shape: str, color: str) -> None:
        """Add a shape."""
        self.marks.append(Mark(row, column, shape, color))
        self.put(row, column, shape, color)

    def add_word(self, row: int, column: int, text: str, color: str) -> None:
        """Add a word, one letter per cell."""
        self.words.append(Word(row, column, text, color))
        for offset, letter in enumerate(text):
            self.put(row, column + offset, letter, color)

    def free(self, row: int, column: int, width: int = 1) -> bool:
        """Return whether these cells of a row are inside the picture and empty."""
        inside = 0 <= row < SIDE and column >= 0 and column + width <= SIDE
        return inside and not self.glyphs[row, column : column + width].any()

    def content(self) -> list[list[int]]:
        """Return glyph and color of each cell, row by row; a glyph of 0 is an empty cell."""
        return np.stack([self.glyphs.ravel(), self.colors.ravel()], axis=1).tolist()

    def content_hash(self) -> str:
        """Return a digest of what the picture shows, the same however it is painted."""
        return hashlib.sha256(self.glyphs.astype("u1").tobytes() + self.colors.astype("u1").tobytes()).hexdigest()


def generator(split: str, *key: int) -> np.random.Generator:
    """Return the random numbers of one scene; every split has its own seed space."""
    # numpy mixes the numbers of a list, so neighbors in it do not give similar pictures.
    return np.random.default_rng([SPLITS[split], *key])


def _place(rng: np.random.Generator, scene: Scene, width: int = 1, clear: int = 0) -> tuple[int, int]:
    """Find a free place for `width` cells; `clear` cells to the left and right of it are empty too."""
    while True:
        row, column = int(rng.integers(SIDE)), int(rng.integers(SIDE - width + 1))  # no picture is ever full
        left, right = max(0, column - clear), min(SIDE, column + width + clear)
        if not scene.glyphs[row, left:right].any():
            return row, column


def _add_marks(rng: np.random.Generator, scene: Scene, number: int) -> None:
    """Scatter marks: often several of one shape or color, often side by side, so that there is something to count and compare."""
    # Each scene prefers some shapes and colors, so that several marks of a sort occur.
    shape_weights = rng.dirichlet(np.full(len(SHAPE_NAMES), 0.8))  # below 1: a few of them get most of the weight
    color_weights = rng.dirichlet(np.full(len(COLOR_NAMES), 0.8))
    while len(scene.marks) < number:
        shape = SHAPE_NAMES[rng.choice(len(SHAPE_NAMES), p=shape_weights)]
        color = COLOR_NAMES[rng.choice(len(COLOR_NAMES), p=color_weights)]
        row, column = _place(rng, scene)
        if scene.marks and rng.random() < 0.35:  # beside, above or below an earlier one
            anchor = scene.marks[int(rng.integers(len(scene.marks)))]
            down, right = ((0, 1), (0, -1), (1, 0), (-1, 0))[int(rng.integers(4))]
            if scene.free(anchor.row + down, anchor.column + right):
                row, column = anchor.row + down, anchor.column + right
        scene.add_mark(row, column, shape, color)


def _add_words(rng: np.random.Generator, scene: Scene, number: int) -> None:
    """Write words in different inks and in different rows."""
    colors = rng.permutation(len(COLOR_NAMES))[:number]
    for color in colors:
        text = WORDS[int(rng.integers(len(WORDS)))]
        for _ in range(40):  # all tries fail where the word is there already; then there is one word less
            row, column = _place(rng, scene, len(text), clear=1)
            if all(word.row != row and word.text != text for word in scene.words):
                scene.add_word(row, column, text, COLOR_NAMES[color])
                break


def _shapes(rng: np.random.Generator, scene: Scene) -> None:
    """Draw many marks, sometimes with a word."""
    if rng.random() < 0.3:
        _add_words(rng, scene, 1)
    _add_marks(rng, scene, int(rng.integers(4, 13)))


def _few(rng: np.random.Generator, scene: Scene) -> None:
    """Draw few marks, sometimes with a word: little enough to describe in a sentence."""
    _add_marks(rng, scene, int(rng.integers(2, 5)))
    if rng.random() < 0.25:
        _add_words(rng, scene, 1)


def _signs(rng: np.random.Generator, scene: Scene) -> None:
    """Draw words with a few marks between them."""
    _add_words(rng, scene, int(rng.integers(1, 4)))
    _add_marks(rng, scene, int(rng.integers(1, 4)))


def _chart(rng: np.random.Generator, scene: Scene) -> None:
    """Draw a bar chart: no two bars share a color, a value or a label, so each can be named by any of them."""
    number = int(rng.integers(3, 7))
    # Column 0 is the axis. Six bars two columns apart fit only from column 1 on.
    start = int(rng.integers(1, 4)) if number < 6 else 1
    step = 2 if start + 2 * (number - 1) < SIDE else 1
    colors = rng.permutation(len(COLOR_NAMES))[:number]
    values = rng.permutation(9)[:number] + 1  # 1 to 9: one digit, one token
    labels = rng.permutation(len(BAR_LABELS))[:number]
    for i in range(number):
        bar = Bar(start + step * i, int(values[i]), COLOR_NAMES[colors[i]], BAR_LABELS[labels[i]])
        scene.bars.append(bar)
        scene.put(SIDE - 1, bar.column, bar.label, "black")
        for height in range(bar.value):
            scene.put(SIDE - 2 - height, bar.column, "bar", bar.color)  # upward from above the label
    for value in range(1, 10):  # the axis
        scene.put(SIDE - 1 - value, 0, str(value), "black")


def _document(rng: np.random.Generator, scene: Scene) -> None:
    """Draw a form: three to five lines of a name and a value."""
    names = list(FIELDS)
    chosen = [names[i] for i in rng.permutation(len(names))[: int(rng.integers(3, 6))]]
    top = int(rng.integers(0, SIDE - 2 * len(chosen) + 2))  # every other row is written on
    color = ("black", "black", "blue")[int(rng.integers(3))]
    for line, name in enumerate(chosen):
        values = FIELDS[name]
        value = values[int(rng.integers(len(values)))] if values else str(int(rng.integers(10, 1000)))
        scene.fields[name] = value
        scene.add_word(top + 2 * line, 0, name, color)
        scene.add_word(top + 2 * line, 6, value, color)  # at the same column in every line, as in a table


def _sum(rng: np.random.Generator, scene: Scene) -> None:
    """Draw a sum of two digits without its result, with up to two marks."""
    first, second = int(rng.integers(1, 10)), int(rng.integers(1, 10))
    scene.terms = (first, second)
    row, column = int(rng.integers(SIDE)), int(rng.integers(SIDE - 5))  # room for four cells, as "3+4="
    color = COLOR_NAMES[int(rng.integers(len(COLOR_NAMES)))]
    for offset, glyph in enumerate((str(first), "+", str(second), "=")):
        scene.put(row, column + offset, glyph, color)
    _add_marks(rng, scene, int(rng.integers(0, 3)))


_MAKERS = {"shapes": _shapes, "few": _few, "signs": _signs, "chart": _chart, "document": _document, "sum": _sum}


def make_scene(kind: str, rng: np.random.Generator) -> Scene:
    """Draw a scene of a kind, with gray clutter in some empty cells, in fewer of them where it is a chart or a document."""
    scene = Scene(kind)
    _MAKERS[kind](rng, scene)
    # Reading order, so that captions and "the top word" follow what the picture shows and not how it was drawn.
    scene.marks.sort(key=lambda mark: (mark.row, mark.column))
    scene.words.sort(key=lambda word: (word.row, word.column))
    empty = np.flatnonzero(scene.glyphs.ravel() == 0)
    number = int(rng.integers(2, 8)) if kind in ("chart", "document") else int(rng.integers(6, 25))
    cells = rng.choice(empty, size=min(number, len(empty)), replace=False)
    scene.glyphs.ravel()[cells] = FIRST_CLUTTER + rng.integers(len(CLUTTER), size=len(cells))
    scene.colors.ravel()[cells] = GRAY
    scene.paint_seed = int(rng.integers(2**31))  # drawn last: how a scene is painted decides nothing about its content
    return scene


_INK_TABLE = np.array([*INKS.values(), (150, 150, 150)], dtype=np.float32)  # [9, 3]


def render(scene: Scene) -> np.ndarray:
    """Paint the picture as uint8 [96, 96, 3]: glyphs shifted by up to a pixel in their cells, ink and paper slightly off."""
    rng = np.random.default_rng(scene.paint_seed)  # its own, so that painting twice gives equal bytes
    place = rng.integers(4, size=(SIDE, SIDE))  # of a glyph in its cell, see glyphs.masks
    mask = MASKS[scene.glyphs, place]  # [12, 12, 8, 8]
    mask = mask.transpose(0, 2, 1, 3).reshape(PIXELS, PIXELS, 1)  # rows of cells become rows of pixels: [96, 96, 1]
    ink = _INK_TABLE[scene.colors] + rng.uniform(-14, 14, size=(SIDE, SIDE, 3))  # [12, 12, 3]
    ink = np.repeat(np.repeat(ink, CELL, axis=0), CELL, axis=1)  # [96, 96, 3]
    paper = rng.uniform(215, 250) + rng.uniform(-8, 8, size=3)
    noise = rng.normal(0, 3, size=(PIXELS, PIXELS, 1))
    return np.clip(np.where(mask, ink, paper) + noise, 0, 255).astype(np.uint8)


def png(scene: Scene) -> bytes:
    """Return the picture as PNG bytes, as data sets store it."""
    from PIL import Image

    buffer = io.BytesIO()
    # compress_level 1: speed counts, and noise compresses badly anyway.
    Image.fromarray(render(scene)).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
