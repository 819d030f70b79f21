"""Tasks, one file a family; all are imported here, so that a saved configuration finds its kind."""

from jaxgen.tasks.algorithms import CountTask, HintedSortTask, StringTask
from jaxgen.tasks.arithmetic import ArithmeticTask
from jaxgen.tasks.base import Split, Task, TaskShape
from jaxgen.tasks.blocksworld import BlocksworldTask
from jaxgen.tasks.chomsky import ChomskyTask
from jaxgen.tasks.cogs import CogsTask
from jaxgen.tasks.comparison import ComparisonTask
from jaxgen.tasks.complex_reasoning import ComplexReasoningTask
from jaxgen.tasks.composition import CompositionTask
from jaxgen.tasks.creative_walks import CreativeWalkTask
from jaxgen.tasks.digits import DigitsTask
from jaxgen.tasks.features import SlabTask, XORClusterTask
from jaxgen.tasks.graph_search import GraphSearchTask
from jaxgen.tasks.hint import HintTask
from jaxgen.tasks.hops import HopTask
from jaxgen.tasks.in_context import BallsAndUrnsTask, InContextClassificationTask, InContextRegressionTask
from jaxgen.tasks.lists import ListTask
from jaxgen.tasks.local_observations import LocalObservationTask
from jaxgen.tasks.maze import MazeTask
from jaxgen.tasks.mixture import Buckets, Curriculum, Mixture, Part
from jaxgen.tasks.mnist1d import MNIST1DTask
from jaxgen.tasks.modular import ModularTask, PermutationTask
from jaxgen.tasks.out_of_context import OutOfContextTask
from jaxgen.tasks.pcfg import PcfgTask
from jaxgen.tasks.random_labels import GaussianMixtureTask, RandomLabelsTask
from jaxgen.tasks.satisfiability import SatisfiabilityTask
from jaxgen.tasks.scan import ScanTask
from jaxgen.tasks.sequence import AdditionTask, InductionTask, SkipTrigramTask
from jaxgen.tasks.stored import StoredTask
from jaxgen.tasks.teacher import TeacherTask
from jaxgen.tasks.transitivity import TransitivityTask

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
