"""The description of an activation: names, numbers, what is refused."""

import copy
import pickle

import pytest

from librnn import RNNError
from librnn.activations import Activation, as_activation


def test_numbers_have_the_defaults_of_pytorch_and_onnx():
    assert (Activation("leaky_relu").alpha, Activation("thresholded_relu").alpha, Activation("elu").alpha) == (0.01, 1.0, 1.0)
    assert (Activation("tanh").alpha, Activation("tanh").beta) == (0.0, 0.0)
    assert Activation("elu", 0.5).alpha == 0.5
    assert (Activation("affine", 2, -1).alpha, Activation("affine", alpha=2, beta=-1).beta) == (2.0, -1.0)


@pytest.mark.parametrize("name", ["hard_sigmoid", "scaled_tanh", "affine"])
@pytest.mark.parametrize("numbers, missing", [({}, "alpha"), ({"alpha": 0.2}, "beta"), ({"beta": 0.5}, "alpha")])
def test_numbers_that_differ_between_frameworks_must_be_spelled(name, numbers, missing):
    with pytest.raises(RNNError, match=f"'{name}': {missing} is missing"):
        Activation(name, **numbers)


def test_what_a_function_does_not_have_is_refused():
    with pytest.raises(RNNError, match="'tanh' has no alpha, got alpha=1"):
        Activation("tanh", 1)
    with pytest.raises(RNNError, match="'elu' has no beta"):
        Activation("elu", 1, 2)
    for value in (float("nan"), float("inf")):
        with pytest.raises(RNNError, match="expected a finite number"):
            Activation("elu", value)
    with pytest.raises(RNNError, match="alpha is 'x', expected a number"):
        Activation("elu", "x")


@pytest.mark.parametrize("name", ["Tanh", "swish", "", None, 3, ["tanh"]])
def test_an_unknown_name_is_refused_with_the_names_there_are(name):
    with pytest.raises(RNNError, match="expected one of 'sigmoid', 'hard_sigmoid'"):
        Activation(name)


def test_an_activation_is_a_value():
    one = Activation("hard_sigmoid", 0.2, 0.5)
    assert one == Activation("hard_sigmoid", 0.2, beta=0.5) and hash(one) == hash(Activation("hard_sigmoid", 0.2, 0.5))
    assert one != Activation("hard_sigmoid", 1 / 6, 0.5) and one != Activation("affine", 0.2, 0.5) and one != "hard_sigmoid"
    assert eval(repr(one)) == one and repr(Activation("tanh")) == "Activation('tanh')"
    assert pickle.loads(pickle.dumps(one)) == one and copy.deepcopy(one) == one
    for change in (lambda: setattr(one, "alpha", 1.0), lambda: delattr(one, "alpha"), lambda: setattr(one, "other", 1)):
        with pytest.raises(AttributeError):
            change()


def test_a_name_or_a_mapping_becomes_an_activation():
    assert as_activation("relu", "activation") == Activation("relu")
    assert as_activation({"name": "elu", "alpha": 2.0}, "activation") == Activation("elu", 2.0)
    one = Activation("tanh")
    assert as_activation(one, "activation") is one
    with pytest.raises(RNNError, match="gate is 3, expected the name of an activation or an Activation"):
        as_activation(3, "gate")
