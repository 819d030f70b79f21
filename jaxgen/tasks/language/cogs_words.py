"""The words of COGS (Kim and Linzen, arXiv 2010.05465), the frequent ones first."""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """The forms of a verb."""

    past: str
    participle: str
    lemma: str


def _verbs(text: str) -> tuple[Verb, ...]:
    """Reads verbs written `past=lemma`, or `past/participle=lemma`."""
    verbs = []
    for word in text.split():
        forms, lemma = word.split("=")
        past, _, participle = forms.partition("/")
        verbs.append(Verb(past, participle or past, lemma))
    return tuple(verbs)


def _nouns(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _same(text: str) -> tuple[Verb, ...]:
    return tuple(Verb(word, word, word) for word in text.split())


NOUNS: dict[str, tuple[str, ...]] = {
    name: _nouns(words)
    for name, words in {
        "animate": """girl boy cat dog baby child teacher frog chicken mouse lion monkey bear giraffe horse bird duck
            bunny butterfly penguin student professor monster hero sailor lawyer customer scientist princess president
            cow crocodile goose hen deer donkey bee fly kitty tiger wolf zebra mother father patient manager director
            king queen kid fish moose pig pony puppy sheep squirrel lamb turkey turtle doctor pupil prince driver
            consumer writer farmer friend judge visitor guest servant chief citizen champion prisoner captain soldier
            passenger tenant politician resident buyer spokesman governor guard creature coach producer researcher guy
            dealer duke tourist landlord human host priest journalist poet""",
        "inanimate": """cake donut cookie box rose drink raisin melon sandwich strawberry ball balloon bat block book
            crayon chalk doll game glue lollipop hamburger banana biscuit muffin pancake pizza potato pretzel pumpkin
            sweetcorn yogurt pickle jigsaw pen pencil present toy cracker brush radio cloud mandarin hat basket plant
            flower chair spoon pillow gumball scarf shoe jacket hammer bucket knife cup plate towel bottle bowl can
            clock jar penny purse soap toothbrush watch newspaper fig bag wine key weapon brain tool crown ring leaf
            fruit mirror beer shirt guitar chemical seed shell brick bell coin button needle molecule crystal flag nail
            bean liver""",
        "proper": """Emma Liam Olivia Noah Ava William Isabella James Sophia Oliver Charlotte Benjamin Mia Elijah Amelia
            Lucas Harper Mason Evelyn Logan Abigail Alexander Emily Ethan Elizabeth Jacob Mila Michael Ella Daniel Avery
            Henry Sofia Jackson Camila Sebastian Aria Aiden Scarlett Matthew Victoria Samuel Madison David Luna Joseph
            Grace Carter Chloe Owen Penelope Wyatt Layla John Riley Jack Zoey Luke Nora Jayden Lily Dylan Eleanor
            Grayson Hannah Levi Lillian Isaac Addison Gabriel Aubrey Julian Ellie Mateo Stella Anthony Natalie Jaxon
            Zoe Lincoln Leah Joshua Hazel Christopher Violet Andrew Aurora Theodore Savannah Caleb Audrey Ryan Brooklyn
            Asher Bella Nathan Claire Thomas Skylar Leo""",
        "on": """table stage bed chair stool road tree box surface seat speaker computer rock boat cabinet TV plate desk
            bowl bench shelf cloth piano bible leaflet sheet cupboard truck tray notebook blanket deck coffin log
            ladder barrel rug canvas tiger towel throne booklet sock corpse sofa keyboard book pillow pad train couch
            bike pedestal platter paper rack board panel tripod branch machine floor napkin cookie block cot device
            yacht dog mattress ball stand stack windowsill counter cushion hanger trampoline gravel cake carpet plaque
            boulder leaf mound bun dish cat podium tabletop beach bag glacier brick crack vessel futon turntable rag
            chessboard""",
        "in": """house room car garden box cup glass bag vehicle hole cabinet bottle shoe storage cot vessel pot pit tin
            can cupboard envelope nest bush coffin drawer container basin tent soup well barrel bucket cage sink
            cylinder parcel cart sack trunk wardrobe basket bin fridge mug jar corner pool blender closet pile van
            trailer saucepan truck taxi haystack dumpster puddle bathtub pod tub trap bun microwave bookstore package
            cafe train castle bunker vase backpack tube hammock stadium backyard swamp monastery refrigerator palace
            cubicle crib condo tower crate dungeon teapot tomb casket jeep shoebox wagon bakery fishbowl kennel china
            spaceship penthouse pyramid""",
        "beside": """table stage bed chair book road tree machine house seat speaker computer rock car box cup glass bag
            flower boat vehicle key painting cabinet TV bottle cat desk shoe mirror clock bench bike lamp lion piano
            crystal toy duck sword sculpture rod truck basket bear nest sphere bush surgeon poster throne giant trophy
            hedge log tent ladder helicopter barrel yacht statue bucket skull beast lemon whale cage gardner fox sink
            trainee dragon cylinder monk bat headmaster philosopher foreigner worm chemist corpse wolf torch sailor
            valve hammer doll genius baron murderer bicycle keyboard stool pepper warrior pillar monkey cassette broker
            bin""",
    }.items()
}

# The nouns and names that the published training set shows alone, besides the new ones.
NOUNS_ALONE = _nouns(
    """girl teacher bird student professor lawyer scientist bee tiger director queen moose prisoner governor human
    priest poet cookie box rose ball chalk game pen plant flower chair spoon gumball bucket knife bottle bowl clock
    toothbrush brain brick button flag liver Emma Liam Ava Charlotte Alexander Emily Mila Sebastian Scarlett Madison
    Carter Chloe Layla Zoey Mateo Natalie Jaxon Zoe Hazel Violet"""
)

VERBS: dict[str, tuple[Verb, ...]] = {
    "omissible": _verbs(
        """ate/eaten=eat painted=paint drew/drawn=draw cleaned=clean cooked=cook dusted=dust hunted=hunt nursed=nurse
        sketched=sketch juggled=juggle called=call heard=hear packed=pack saw/seen=see noticed=notice studied=study
        examined=examine observed=observe knew/known=know investigated=investigate"""
    ),
    "transitive": _verbs(
        """liked=like helped=help found=find loved=love poked=poke admired=admire adored=adore appreciated=appreciate
        missed=miss respected=respect threw/thrown=throw tolerated=tolerate valued=value worshipped=worship
        discovered=discover held=hold stabbed=stab touched=touch pierced=pierce tossed=toss"""
    ),
    "says": _verbs(
        """liked=like hoped=hope said=say noticed=notice believed=believe confessed=confess declared=declare
        proved=prove thought=think admired=admire appreciated=appreciate respected=respect supported=support
        tolerated=tolerate valued=value wished=wish dreamed=dream expected=expect imagined=imagine meant=mean"""
    ),
    "wants": _verbs(
        """wanted=want preferred=prefer needed=need intended=intend tried=try attempted=attempt planned=plan
        expected=expect hoped=hope wished=wish craved=crave liked=like hated=hate loved=love enjoyed=enjoy
        dreamed=dream meant=mean longed=long yearned=yearn itched=itch"""
    ),
    "unaccusative": _verbs(
        """rolled=roll froze/frozen=freeze burned=burn shortened=shorten floated=float grew/grown=grow slid=slide
        broke/broken=break crumpled=crumple split=split changed=change snapped=snap disintegrated=disintegrate
        collapsed=collapse decomposed=decompose doubled=double improved=improve inflated=inflate enlarged=enlarge
        reddened=redden"""
    ),
    "unergative": _verbs(
        """slept=sleep smiled=smile laughed=laugh sneezed=sneeze cried=cry talked=talk danced=dance jogged=jog
        walked=walk ran=run napped=nap snoozed=snooze screamed=scream stuttered=stutter frowned=frown giggled=giggle
        scoffed=scoff snored=snore smirked=smirk gasped=gasp"""
    ),
    "dative": _verbs(
        """gave/given=give lended=lend sold=sell offered=offer fed=feed passed=pass sent=send rented=rent served=serve
        awarded=award brought=bring handed=hand forwarded=forward promised=promise mailed=mail loaned=loan posted=post
        returned=return slipped=slip wired=wire"""
    ),
    "infinitive": _same(
        """walk run sleep sneeze nap eat read cook hunt paint talk dance giggle jog smirk call sketch dust clean
        investigate"""
    ),
}
