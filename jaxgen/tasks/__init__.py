"""Tasks, one file a family. All are imported here, so that a saved configuration finds its class."""

from jaxgen.tasks.algebra.modular import ModularTask, PermutationTask
from jaxgen.tasks.base import Split, Task, TaskShape
from jaxgen.tasks.contexts.in_context import BallsAndUrnsTask, InContextClassificationTask, InContextRegressionTask
from jaxgen.tasks.facts.comparison import ComparisonTask
from jaxgen.tasks.facts.complex_reasoning import ComplexReasoningTask
from jaxgen.tasks.facts.composition import CompositionTask
from jaxgen.tasks.facts.hops import HopTask
from jaxgen.tasks.facts.local_observations import LocalObservationTask
from jaxgen.tasks.facts.out_of_context import OutOfContextTask
from jaxgen.tasks.facts.satisfiability import SatisfiabilityTask
from jaxgen.tasks.facts.transitivity import TransitivityTask
from jaxgen.tasks.features.digits import DigitsTask
from jaxgen.tasks.features.gaussian_mixture import GaussianMixtureTask
from jaxgen.tasks.features.mnist1d import MNIST1DTask
from jaxgen.tasks.features.slab import SlabTask
from jaxgen.tasks.features.teacher import TeacherTask
from jaxgen.tasks.features.xor_cluster import XORClusterTask
from jaxgen.tasks.graphs.blocksworld import BlocksworldTask
from jaxgen.tasks.graphs.creative_walks import CreativeWalkTask
from jaxgen.tasks.graphs.graph_search import GraphSearchTask
from jaxgen.tasks.graphs.maze import MazeTask
from jaxgen.tasks.language.cogs import CogsTask
from jaxgen.tasks.language.hint import HintTask
from jaxgen.tasks.language.pcfg import PcfgTask
from jaxgen.tasks.language.scan import ScanTask
from jaxgen.tasks.mixtures.mixture import Buckets, Curriculum, Mixture, Part
from jaxgen.tasks.stored import StoredTask
from jaxgen.tasks.strings.algorithms import CountTask, HintedSortTask, StringTask
from jaxgen.tasks.strings.arithmetic import ArithmeticTask
from jaxgen.tasks.strings.chomsky import ChomskyTask
from jaxgen.tasks.strings.lists import ListTask
from jaxgen.tasks.strings.random_labels import RandomLabelsTask
from jaxgen.tasks.strings.sequence import AdditionTask, InductionTask, SkipTrigramTask

__all__ = [
    "AdditionTask",
    "ArithmeticTask",
    "BallsAndUrnsTask",
    "BlocksworldTask",
    "Buckets",
    "ChomskyTask",
    "CogsTask",
    "ComparisonTask",
    "ComplexReasoningTask",
    "CompositionTask",
    "CountTask",
    "CreativeWalkTask",
    "Curriculum",
    "DigitsTask",
    "GaussianMixtureTask",
    "GraphSearchTask",
    "HintTask",
    "HintedSortTask",
    "HopTask",
    "InContextClassificationTask",
    "InContextRegressionTask",
    "InductionTask",
    "ListTask",
    "LocalObservationTask",
    "MNIST1DTask",
    "MazeTask",
    "Mixture",
    "ModularTask",
    "OutOfContextTask",
    "Part",
    "PcfgTask",
    "PermutationTask",
    "RandomLabelsTask",
    "SatisfiabilityTask",
    "ScanTask",
    "SkipTrigramTask",
    "SlabTask",
    "Split",
    "StoredTask",
    "StringTask",
    "Task",
    "TaskShape",
    "TeacherTask",
    "TransitivityTask",
    "XORClusterTask",
]
