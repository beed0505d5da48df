"""What the shipped controller is measured against, on the same engine: every one is a `Controller`."""

from controllable_inference.core.baselines.adaptive import AdaptiveConsistency
from controllable_inference.core.baselines.by_gate import BestOfN, WeightedVote
from controllable_inference.core.baselines.deepconf import DeepConf, OnlineDeepConf
from controllable_inference.core.baselines.early_stopping import EarlyStopping
from controllable_inference.core.baselines.logprob import LogProbPruning
from controllable_inference.core.baselines.lookup import GivenPrediction
from controllable_inference.core.baselines.majority import FastSample, MajorityVote, SingleSample
from controllable_inference.core.baselines.oracle import Oracle
from controllable_inference.core.baselines.random_pruning import RandomPruning
from controllable_inference.core.baselines.self_truncation import SelfTruncation
from controllable_inference.core.baselines.shortest import ShortestPruning, ShortM
from controllable_inference.core.baselines.step_scores import ScorePruning, StepScores

__all__ = [
    "AdaptiveConsistency",
    "BestOfN",
    "DeepConf",
    "EarlyStopping",
    "FastSample",
    "GivenPrediction",
    "LogProbPruning",
    "MajorityVote",
    "OnlineDeepConf",
    "Oracle",
    "RandomPruning",
    "ScorePruning",
    "SelfTruncation",
    "ShortM",
    "ShortestPruning",
    "SingleSample",
    "StepScores",
    "WeightedVote",
]
