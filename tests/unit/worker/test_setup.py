"""What a worker is started for survives the command line."""

from hypothesis import given
from hypothesis import strategies as st

from stemd.engines.models import Supply
from stemd.worker.setup import Setup


@given(st.builds(Setup, st.text(), st.text(), st.text(), st.sampled_from(["auto", "cpu", "cuda", "mps"])))
def test_a_setup_survives_json(setup):
    assert Setup.from_json(setup.to_json()) == setup


def test_setups_are_compared_by_content():
    assert Setup("demucs", "nano", "/models", "cpu") == Setup("demucs", "nano", "/models", "cpu")
    assert Setup("demucs", "nano", "/models", "cpu") != Setup("demucs", "nano", "/models", "cuda")


def test_how_a_model_may_be_fetched_survives_too():
    setup = Setup("demucs", "mdx", "/models", "cpu", supply=Supply(False, "https://mirror", ("ab" * 32,)))
    assert Setup.from_json(setup.to_json()) == setup
