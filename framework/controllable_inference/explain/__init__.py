"""Why a request was answered as it was: as text, JSON, and a page that draws its paths."""

from controllable_inference.explain.explanation import Explanation, explain

__all__ = ["Explanation", "explain"]
