"""How a comparison of two cases is called."""

from bench.matrix.case import Case, OwnValue
from bench.matrix.comparison import Comparison
from tests.cases import sumnet


def test_id_has_both_values_of_an_axis_that_differs() -> None:
    case = sumnet()
    assert Comparison(case, case).id == case.id
    assert "/compile-off->on/" in Comparison(case, case.but({"compile": "on"})).id


def test_values_are_written_as_they_are_typed() -> None:
    off, on = (Case("mynet", own=(OwnValue("clip", value, "clip-"),)) for value in (False, True))
    assert "/clip-false->true/" in Comparison(off, on).id
