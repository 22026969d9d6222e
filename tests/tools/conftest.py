"""What tests of tools share: models that answer given prompts."""

import pytest

from tests.given_prompts import Models, make_models


@pytest.fixture(scope="module")
def models(tiny_causal_lm, tiny_classifier, tmp_path_factory) -> Models:
    return make_models(tiny_causal_lm, tiny_classifier, tmp_path_factory.mktemp("models"))
