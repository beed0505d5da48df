"""What the shipped controller is measured against, on the same engine: every one is a `Controller`."""

from controllable_inference.control.baselines.adaptive import AdaptiveConsistency
from controllable_inference.control.baselines.by_gate import BestOfN, WeightedVote
from controllable_inference.control.baselines.deepconf import DeepConf, OnlineDeepConf
from controllable_inference.control.baselines.early_stopping import EarlyStopping
from controllable_inference.control.baselines.logprob import LogProbPruning
from controllable_inference.control.baselines.lookup import GivenPrediction
from controllable_inference.control.baselines.majority import FastSample, MajorityVote, SingleSample
from controllable_inference.control.baselines.oracle import Oracle
from controllable_inference.control.baselines.random_pruning import RandomPruning
from controllable_inference.control.baselines.self_truncation import SelfTruncation
from controllable_inference.control.baselines.shortest import ShortestPruning, ShortM
from controllable_inference.control.baselines.step_scores import ScorePruning, StepScores

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
