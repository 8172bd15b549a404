"""rnn.h, one for one: constants, structs, functions. A test compares every line with the header.

Types are spelled as in the header. All pointers to data are passed as addresses (`c_void_p`), which is what makes a
call cheap: what an address points to is the business of the callers in this package.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_double, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, Callable, Dict, Tuple

from ._library import load

# Constants

RNN_VERSION_MAJOR = 0
RNN_VERSION_MINOR = 1
RNN_VERSION_PATCH = 0
RNN_VERSION_STRING = "0.1.0"
RNN_VERSION_NUMBER = 100
RNN_OK = 0
RNN_ERROR_INVALID_ARGUMENT = -1
RNN_ERROR_INVALID_HANDLE = -2
RNN_ERROR_BUFFER_TOO_SMALL = -3
RNN_ERROR_SHAPE = -4
RNN_ERROR_DTYPE = -5
RNN_ERROR_OUT_OF_MEMORY = -6
RNN_ERROR_IO = -7
RNN_ERROR_FORMAT = -8
RNN_ERROR_UNSUPPORTED = -9
RNN_ERROR_BUSY = -10
RNN_ERROR_NOT_FOUND = -11
RNN_DTYPE_FLOAT32 = 0
RNN_DTYPE_FLOAT64 = 1
RNN_NONLINEARITY_TANH = 0
RNN_NONLINEARITY_RELU = 1
RNN_GRU_RESET_BEFORE = 0
RNN_GRU_RESET_AFTER = 1
RNN_CELL_VANILLA = 0
RNN_CELL_GRU = 1
RNN_CELL_LSTM = 2
RNN_BIAS_DEFAULT = 0
RNN_BIAS_NONE = 1
RNN_BIAS_SINGLE = 2
RNN_BIAS_DOUBLE = 3
RNN_ACTIVATION_DEFAULT = 0
RNN_ACTIVATION_SIGMOID = 1
RNN_ACTIVATION_HARD_SIGMOID = 2
RNN_ACTIVATION_TANH = 3
RNN_ACTIVATION_RELU = 4
RNN_ACTIVATION_LEAKY_RELU = 5
RNN_ACTIVATION_THRESHOLDED_RELU = 6
RNN_ACTIVATION_SCALED_TANH = 7
RNN_ACTIVATION_ELU = 8
RNN_ACTIVATION_SOFTSIGN = 9
RNN_ACTIVATION_SOFTPLUS = 10
RNN_ACTIVATION_AFFINE = 11
RNN_ACTIVATION_SLOTS = 5
RNN_MERGE_CONCAT = 0
RNN_MERGE_SUM = 1
RNN_MERGE_MEAN = 2
RNN_MERGE_PRODUCT = 3
RNN_INITIALIZATION_PYTORCH = 0
RNN_INITIALIZATION_NORMAL = 1
RNN_INITIALIZATION_ORTHOGONAL = 2
RNN_INITIALIZATION_ZEROS = 3
RNN_PADDING_VALUE = 0
RNN_PADDING_REPEAT = 1
RNN_FLOW_GATES = 4
RNN_REDUCTION_MEAN = 0
RNN_REDUCTION_SUM = 1
RNN_REDUCTION_NONE = 2
RNN_OPTIMIZER_SGD = 0
RNN_OPTIMIZER_ADAM = 1
RNN_OPTIMIZER_ADAMW = 2
RNN_OPTIMIZER_RMSPROP = 3
RNN_LOSS_CROSS_ENTROPY = 0
RNN_LOSS_MSE = 1
RNN_CLIP_GLOBAL_NORM = 0
RNN_CLIP_TENSOR_NORM = 1
RNN_CLIP_VALUE = 2
RNN_STORAGE_FULL = 0
RNN_STORAGE_BFLOAT16 = 1
RNN_NON_FINITE_NONE = 0
RNN_NON_FINITE_FORWARD = 1
RNN_NON_FINITE_LOSS = 2
RNN_NON_FINITE_BACKWARD = 3
RNN_NON_FINITE_GRADIENT = 4

library = load(RNN_VERSION_NUMBER)

#: C name -> (result, arguments), in the header's spelling.
FUNCTIONS: Dict[str, Tuple[str, Tuple[str, ...]]] = {}

_TYPES: Dict[str, Any] = {
    "void": None,
    "rnn_status": c_int32,
    "int32_t": c_int32,
    "uint32_t": c_uint32,
    "uint64_t": c_uint64,
    "size_t": c_size_t,
    "double": c_double,
    "const char *": c_char_p,
}


def _ctype(spelling: str) -> Any:
    return c_void_p if spelling.endswith("*") and spelling not in _TYPES else _TYPES[spelling]


def _function(name: str, result: str, *arguments: str) -> Callable[..., Any]:
    try:
        function = getattr(library, name)
    except AttributeError:
        raise ImportError(f"{library._name} has no {name}: it is older than this package") from None
    function.restype = _ctype(result)
    function.argtypes = [_ctype(argument) for argument in arguments]
    FUNCTIONS[name] = (result, arguments)
    return function  # type: ignore[no-any-return]


def _twins(name: str, result: str, *arguments: str) -> Tuple[Callable[..., Any], Callable[..., Any]]:
    """A function for float32 and its twin ``name_f64``, whose ``float`` is ``double``."""
    double = tuple(argument.replace("float", "double") for argument in arguments)
    return _function(name, result, *arguments), _function(name + "_f64", result, *double)

# Structs


class Sized(ctypes.Structure):
    """A struct that begins with its own size; the size is filled in, everything else is zero unless given."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.struct_size = ctypes.sizeof(self)


class rnn_builder_options(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("dtype", c_int32),
        ("reserved", c_int32),
    ]


class rnn_recurrent_options(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("hidden_size", c_size_t),
        ("num_layers", c_size_t),
        ("cell", c_int32),
        ("nonlinearity", c_int32),
        ("gru_variant", c_int32),
        ("bias", c_int32),
        ("bidirectional", c_int32),
        ("reserved", c_int32),
        ("dropout", c_double),
        ("reverse", c_int32),
        ("merge", c_int32),
        ("hidden_size_reverse", c_size_t),
        ("proj_size", c_size_t),
        ("residual", c_int32),
        ("learned_initial_state", c_int32),
        ("peepholes", c_int32),
        ("coupled_gates", c_int32),
        ("cell_clip", c_double),
        ("gate_clip", c_double),
        ("gate_clip_output", c_int32),
        ("reserved2", c_int32),
        ("forget_bias", c_double),
        ("recurrent_dropout", c_double),
        ("activations", c_int32 * RNN_ACTIVATION_SLOTS * 2),
        ("activation_alpha", c_double * RNN_ACTIVATION_SLOTS * 2),
        ("activation_beta", c_double * RNN_ACTIVATION_SLOTS * 2),
    ]


class rnn_build_options(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("seed", c_uint64),
        ("initialization", c_int32),
        ("reserved", c_int32),
        ("forget_bias", c_double),
        ("deviation", c_double),
    ]


class rnn_load_options(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("max_parameters", c_size_t),
    ]


class rnn_save_options(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("no_sync", c_int32),
        ("reserved", c_int32),
    ]


class rnn_network_info(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("dtype", c_int32),
        ("streamable", c_int32),
        ("single_step_output", c_int32),
        ("reserved", c_int32),
        ("input_size", c_size_t),
        ("token_count", c_size_t),
        ("output_size", c_size_t),
        ("parameter_count", c_size_t),
        ("parameter_elements", c_size_t),
        ("state_count", c_size_t),
        ("state_elements", c_size_t),
        ("layer_directions", c_size_t),
    ]


class rnn_tensor_info(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("offset", c_size_t),
        ("element_count", c_size_t),
        ("rank", c_size_t),
        ("shape", c_size_t * 4),
    ]


class rnn_state_options(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("batch_size", c_size_t),
    ]


class rnn_run_options(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("batch_first", c_int32),
        ("padding", c_int32),
        ("padding_value", c_double),
        ("mask", c_void_p),
        ("mask_count", c_size_t),
        ("zero_state_of_empty_rows", c_int32),
        ("reserved", c_int32),
    ]


class rnn_train_options(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("batch_first", c_int32),
        ("padding", c_int32),
        ("dropout_seed", c_uint64),
        ("step", c_uint64),
        ("first_time", c_uint64),
        ("padding_value", c_double),
        ("mask", c_void_p),
        ("mask_count", c_size_t),
        ("zero_state_of_empty_rows", c_int32),
        ("reserved", c_int32),
    ]


class rnn_backward_options(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("hidden_flow", c_void_p),
        ("hidden_flow_count", c_size_t),
        ("cell_flow", c_void_p),
        ("cell_flow_count", c_size_t),
        ("clipped_flow", c_void_p),
        ("clipped_flow_count", c_size_t),
        ("gate_mean", c_void_p),
        ("gate_mean_count", c_size_t),
        ("gate_saturation", c_void_p),
        ("gate_saturation_count", c_size_t),
        ("jacobian_norm", c_void_p),
        ("jacobian_norm_count", c_size_t),
        ("hidden_clip", c_double),
    ]


class rnn_stream_options(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("batch_size", c_size_t),
        ("num_threads", c_size_t),
        ("weight_storage", c_int32),
        ("reserved", c_int32),
    ]

class rnn_cross_entropy_options(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("reduction", c_int32),
        ("has_ignore_index", c_int32),
        ("ignore_index", c_int64),
        ("label_smoothing", c_double),
    ]


class rnn_mse_options(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("reduction", c_int32),
        ("reserved", c_int32),
    ]


class rnn_ctc_options(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("reduction", c_int32),
        ("zero_infinity", c_int32),
        ("blank", c_int64),
        ("concatenated", c_int32),
        ("reserved", c_int32),
    ]


class rnn_clip_report(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("total_norm", c_double),
        ("scale", c_double),
        ("largest_index", c_size_t),
        ("largest_norm", c_double),
        ("non_finite", c_int32),
        ("reserved", c_int32),
        ("non_finite_index", c_size_t),
    ]


class rnn_optimizer_options(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("kind", c_int32),
        ("nesterov", c_int32),
        ("amsgrad", c_int32),
        ("centered", c_int32),
        ("learning_rate", c_double),
        ("momentum", c_double),
        ("dampening", c_double),
        ("weight_decay", c_double),
        ("beta1", c_double),
        ("beta2", c_double),
        ("epsilon", c_double),
        ("alpha", c_double),
    ]


class rnn_trainer_options(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("loss", c_int32),
        ("has_ignore_index", c_int32),
        ("ignore_index", c_int64),
        ("clip_norm", c_double),
        ("update_interval", c_size_t),
        ("backward_steps", c_size_t),
        ("dropout_seed", c_uint64),
        ("hidden_clip", c_double),
        ("clip_mode", c_int32),
        ("gradient_flow", c_int32),
    ]


class rnn_step_report(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("loss", c_double),
        ("terms", c_size_t),
        ("gradient_norm", c_double),
        ("gradient_scale", c_double),
        ("largest_parameter", c_size_t),
        ("updates", c_size_t),
        ("skipped", c_size_t),
        ("non_finite", c_int32),
        ("reserved", c_int32),
        ("non_finite_layer", c_size_t),
        ("non_finite_step", c_size_t),
        ("non_finite_parameter", c_size_t),
    ]


class rnn_sample_options(Sized):
    _fields_ = [
        ("struct_size", c_size_t),
        ("temperature", c_double),
        ("top_k", c_size_t),
        ("top_p", c_double),
        ("greedy", c_int32),
        ("reserved", c_int32),
        ("seed", c_uint64),
        ("position", c_uint64),
    ]


# Functions

# 1. Basics

rnn_version = _function("rnn_version", "const char *")
rnn_version_number = _function("rnn_version_number", "uint32_t")
rnn_last_error_message = _function("rnn_last_error_message", "const char *")
rnn_status_name = _function("rnn_status_name", "const char *", "rnn_status")
rnn_kernels_name = _function("rnn_kernels_name", "const char *")
rnn_blas_set = _function("rnn_blas_set", "rnn_status", "const char *")
rnn_blas_name = _function("rnn_blas_name", "const char *")
rnn_threads_set = _function("rnn_threads_set", "rnn_status", "size_t")
rnn_threads_get = _function("rnn_threads_get", "size_t")

# 2. Cell math

rnn_vanilla_forward, rnn_vanilla_forward_f64 = _twins(
    "rnn_vanilla_forward", "rnn_status", "int32_t", "size_t", "size_t", "size_t", "const float *", "const float *",
    "const float *", "const float *", "const float *", "const float *", "float *",
)
rnn_vanilla_backward, rnn_vanilla_backward_f64 = _twins(
    "rnn_vanilla_backward", "rnn_status", "int32_t", "size_t", "size_t", "size_t", "const float *", "const float *",
    "const float *", "const float *", "const float *", "const float *", "float *", "float *", "float *", "float *",
    "float *",
)
rnn_gru_forward, rnn_gru_forward_f64 = _twins(
    "rnn_gru_forward", "rnn_status", "int32_t", "size_t", "size_t", "size_t", "const float *", "const float *",
    "const float *", "const float *", "const float *", "const float *", "float *", "float *",
)
rnn_gru_backward, rnn_gru_backward_f64 = _twins(
    "rnn_gru_backward", "rnn_status", "int32_t", "size_t", "size_t", "size_t", "const float *", "const float *",
    "const float *", "const float *", "const float *", "const float *", "float *", "float *", "float *", "float *",
    "float *", "float *",
)
rnn_lstm_forward, rnn_lstm_forward_f64 = _twins(
    "rnn_lstm_forward", "rnn_status", "size_t", "size_t", "size_t", "const float *", "const float *",
    "const float *", "const float *", "const float *", "const float *", "const float *", "float *", "float *",
    "float *",
)
rnn_lstm_backward, rnn_lstm_backward_f64 = _twins(
    "rnn_lstm_backward", "rnn_status", "size_t", "size_t", "size_t", "const float *", "const float *",
    "const float *", "const float *", "const float *", "const float *", "const float *", "const float *",
    "const float *", "float *", "float *", "float *", "float *", "float *", "float *",
)

# 3. Builder

rnn_builder_create = _function("rnn_builder_create", "rnn_status", "const rnn_builder_options *", "rnn_builder **")
rnn_builder_add_input = _function("rnn_builder_add_input", "rnn_status", "rnn_builder *", "const char *", "size_t")
rnn_builder_add_token_input = _function("rnn_builder_add_token_input", "rnn_status", "rnn_builder *", "const char *")
rnn_builder_add_embedding = _function(
    "rnn_builder_add_embedding", "rnn_status", "rnn_builder *", "const char *", "const char *", "size_t", "size_t",
)
rnn_builder_add_one_hot = _function(
    "rnn_builder_add_one_hot", "rnn_status", "rnn_builder *", "const char *", "const char *", "size_t",
)
rnn_builder_add_recurrent = _function(
    "rnn_builder_add_recurrent", "rnn_status", "rnn_builder *", "const char *", "const char *",
    "const rnn_recurrent_options *",
)
rnn_builder_add_linear = _function(
    "rnn_builder_add_linear", "rnn_status", "rnn_builder *", "const char *", "const char *", "size_t", "int32_t",
)
rnn_builder_add_last_step = _function(
    "rnn_builder_add_last_step", "rnn_status", "rnn_builder *", "const char *", "const char *",
)
rnn_builder_add_first_step = _function(
    "rnn_builder_add_first_step", "rnn_status", "rnn_builder *", "const char *", "const char *",
)
rnn_builder_add_dropout = _function(
    "rnn_builder_add_dropout", "rnn_status", "rnn_builder *", "const char *", "const char *", "double",
)
rnn_builder_add_sum = _function(
    "rnn_builder_add_sum", "rnn_status", "rnn_builder *", "const char *", "const char *const *", "size_t",
)
rnn_builder_add_product = _function(
    "rnn_builder_add_product", "rnn_status", "rnn_builder *", "const char *", "const char *const *", "size_t",
)
rnn_builder_add_concat = _function(
    "rnn_builder_add_concat", "rnn_status", "rnn_builder *", "const char *", "const char *const *", "size_t",
)
rnn_builder_add_slice = _function(
    "rnn_builder_add_slice", "rnn_status", "rnn_builder *", "const char *", "const char *", "size_t", "size_t",
)
rnn_builder_add_activation = _function(
    "rnn_builder_add_activation", "rnn_status", "rnn_builder *", "const char *", "const char *", "int32_t", "double", "double",
)
rnn_builder_add_softmax = _function(
    "rnn_builder_add_softmax", "rnn_status", "rnn_builder *", "const char *", "const char *", "int32_t",
)
rnn_builder_add_layer_norm = _function(
    "rnn_builder_add_layer_norm", "rnn_status", "rnn_builder *", "const char *", "const char *", "double",
)
rnn_builder_add_scale_shift = _function(
    "rnn_builder_add_scale_shift", "rnn_status", "rnn_builder *", "const char *", "const char *", "int32_t",
)
rnn_builder_add_reverse = _function(
    "rnn_builder_add_reverse", "rnn_status", "rnn_builder *", "const char *", "const char *",
)
rnn_builder_build = _function(
    "rnn_builder_build", "rnn_status", "rnn_builder *", "const rnn_build_options *", "rnn_network **",
)
rnn_builder_destroy = _function("rnn_builder_destroy", "void", "rnn_builder *")

# 4. Network

rnn_network_load = _function(
    "rnn_network_load", "rnn_status", "const char *", "const rnn_load_options *", "rnn_network **",
)
rnn_network_load_memory = _function(
    "rnn_network_load_memory", "rnn_status", "const uint8_t *", "size_t", "const rnn_load_options *",
    "rnn_network **",
)
rnn_network_save = _function(
    "rnn_network_save", "rnn_status", "rnn_network *", "const char *", "const rnn_save_options *",
)
rnn_network_destroy = _function("rnn_network_destroy", "void", "rnn_network *")
rnn_network_describe = _function("rnn_network_describe", "rnn_status", "rnn_network *", "rnn_network_info *")
rnn_network_parameter_info = _function(
    "rnn_network_parameter_info", "rnn_status", "rnn_network *", "size_t", "rnn_tensor_info *",
)
rnn_network_state_info = _function(
    "rnn_network_state_info", "rnn_status", "rnn_network *", "size_t", "rnn_tensor_info *",
)
rnn_network_parameter_get, rnn_network_parameter_get_f64 = _twins(
    "rnn_network_parameter_get", "rnn_status", "rnn_network *", "const char *", "float *", "size_t",
)
rnn_network_parameter_set, rnn_network_parameter_set_f64 = _twins(
    "rnn_network_parameter_set", "rnn_status", "rnn_network *", "const char *", "const float *", "size_t",
)
rnn_network_architecture = _function(
    "rnn_network_architecture", "rnn_status", "rnn_network *", "char *", "size_t", "size_t *",
)
rnn_network_metadata_get = _function(
    "rnn_network_metadata_get", "rnn_status", "rnn_network *", "const char *", "char *", "size_t", "size_t *",
)
rnn_network_metadata_set = _function(
    "rnn_network_metadata_set", "rnn_status", "rnn_network *", "const char *", "const char *",
)
rnn_network_metadata_key = _function(
    "rnn_network_metadata_key", "rnn_status", "rnn_network *", "size_t", "char *", "size_t", "size_t *",
)

# 5. State

rnn_state_create = _function(
    "rnn_state_create", "rnn_status", "rnn_network *", "const rnn_state_options *", "rnn_state **",
)
rnn_state_clone = _function("rnn_state_clone", "rnn_status", "rnn_state *", "rnn_state **")
rnn_state_reset = _function("rnn_state_reset", "rnn_status", "rnn_state *")
rnn_state_read, rnn_state_read_f64 = _twins(
    "rnn_state_read", "rnn_status", "rnn_state *", "const char *", "float *", "size_t",
)
rnn_state_write, rnn_state_write_f64 = _twins(
    "rnn_state_write", "rnn_status", "rnn_state *", "const char *", "const float *", "size_t",
)
rnn_state_destroy = _function("rnn_state_destroy", "void", "rnn_state *")

# 6. Run, train

rnn_network_run, rnn_network_run_f64 = _twins(
    "rnn_network_run", "rnn_status", "rnn_network *", "size_t", "size_t", "const float *", "size_t",
    "const int64_t *", "size_t", "const int64_t *", "size_t", "rnn_state *", "float *", "size_t",
    "const rnn_run_options *",
)
rnn_network_run_arrays, rnn_network_run_arrays_f64 = _twins(
    "rnn_network_run_arrays", "rnn_status", "rnn_network *", "size_t", "size_t", "const float *", "size_t",
    "const int64_t *", "size_t", "const int64_t *", "size_t", "const float *", "size_t", "float *", "size_t", "float *",
    "size_t", "const rnn_run_options *",
)
rnn_network_forward_train, rnn_network_forward_train_f64 = _twins(
    "rnn_network_forward_train", "rnn_status", "rnn_network *", "size_t", "size_t", "const float *", "size_t",
    "const int64_t *", "size_t", "const int64_t *", "size_t", "rnn_state *", "float *", "size_t",
    "const rnn_train_options *", "rnn_tape **",
)
rnn_network_backward, rnn_network_backward_f64 = _twins(
    "rnn_network_backward", "rnn_status", "rnn_network *", "rnn_tape *", "const float *", "size_t", "rnn_state *",
    "float *", "size_t", "rnn_state *", "float *", "size_t", "const rnn_backward_options *",
)
rnn_tape_tensor_info = _function("rnn_tape_tensor_info", "rnn_status", "rnn_tape *", "size_t", "rnn_tensor_info *")
rnn_tape_read, rnn_tape_read_f64 = _twins(
    "rnn_tape_read", "rnn_status", "rnn_tape *", "const char *", "float *", "size_t",
)
rnn_tape_destroy = _function("rnn_tape_destroy", "void", "rnn_tape *")

# 7. Stream

rnn_stream_create = _function(
    "rnn_stream_create", "rnn_status", "rnn_network *", "const rnn_stream_options *", "rnn_stream **",
)
rnn_stream_input, rnn_stream_input_f64 = _twins(
    "rnn_stream_input", "rnn_status", "rnn_stream *", "float **", "size_t *",
)
rnn_stream_output, rnn_stream_output_f64 = _twins(
    "rnn_stream_output", "rnn_status", "rnn_stream *", "float **", "size_t *",
)
rnn_stream_tokens = _function("rnn_stream_tokens", "rnn_status", "rnn_stream *", "int64_t **", "size_t *")
rnn_stream_step = _function("rnn_stream_step", "rnn_status", "rnn_stream *")
rnn_stream_process, rnn_stream_process_f64 = _twins(
    "rnn_stream_process", "rnn_status", "rnn_stream *", "size_t", "const float *", "size_t", "const int64_t *",
    "size_t", "float *", "size_t",
)
rnn_stream_reset = _function("rnn_stream_reset", "rnn_status", "rnn_stream *")
rnn_stream_state_get = _function("rnn_stream_state_get", "rnn_status", "rnn_stream *", "rnn_state *")
rnn_stream_state_set = _function("rnn_stream_state_set", "rnn_status", "rnn_stream *", "rnn_state *")
rnn_stream_destroy = _function("rnn_stream_destroy", "void", "rnn_stream *")

# 8. Training

rnn_loss_cross_entropy, rnn_loss_cross_entropy_f64 = _twins(
    "rnn_loss_cross_entropy", "rnn_status", "size_t", "size_t", "const float *", "size_t", "const int64_t *", "size_t",
    "const float *", "size_t", "double *", "size_t", "float *", "size_t", "const rnn_cross_entropy_options *",
)
rnn_loss_mse, rnn_loss_mse_f64 = _twins(
    "rnn_loss_mse", "rnn_status", "size_t", "const float *", "size_t", "const float *", "size_t", "double *", "size_t",
    "float *", "size_t", "const rnn_mse_options *",
)
rnn_loss_ctc, rnn_loss_ctc_f64 = _twins(
    "rnn_loss_ctc", "rnn_status", "size_t", "size_t", "size_t", "size_t", "const float *", "size_t", "const int64_t *",
    "size_t", "const int64_t *", "size_t", "const int64_t *", "size_t", "double *", "size_t", "float *", "size_t",
    "const rnn_ctc_options *",
)
rnn_gradients_clip, rnn_gradients_clip_f64 = _twins(
    "rnn_gradients_clip", "rnn_status", "float *const *", "const size_t *", "size_t", "double", "double",
    "rnn_clip_report *",
)
rnn_gradients_clip_each, rnn_gradients_clip_each_f64 = _twins(
    "rnn_gradients_clip_each", "rnn_status", "float *const *", "const size_t *", "size_t", "double", "double",
    "rnn_clip_report *",
)
rnn_gradients_clip_value, rnn_gradients_clip_value_f64 = _twins(
    "rnn_gradients_clip_value", "rnn_status", "float *const *", "const size_t *", "size_t", "double", "rnn_clip_report *",
)
rnn_optimizer_create = _function(
    "rnn_optimizer_create", "rnn_status", "int32_t", "size_t", "const rnn_optimizer_options *", "rnn_optimizer **",
)
rnn_optimizer_step, rnn_optimizer_step_f64 = _twins(
    "rnn_optimizer_step", "rnn_status", "rnn_optimizer *", "float *", "size_t", "const float *", "size_t",
)
rnn_optimizer_learning_rate_set = _function(
    "rnn_optimizer_learning_rate_set", "rnn_status", "rnn_optimizer *", "double",
)
rnn_optimizer_destroy = _function("rnn_optimizer_destroy", "void", "rnn_optimizer *")
rnn_trainer_create = _function(
    "rnn_trainer_create", "rnn_status", "rnn_network *", "const rnn_trainer_options *", "const rnn_optimizer_options *",
    "rnn_trainer **",
)
rnn_trainer_step, rnn_trainer_step_f64 = _twins(
    "rnn_trainer_step", "rnn_status", "rnn_trainer *", "size_t", "size_t", "const float *", "size_t",
    "const int64_t *", "size_t", "const int64_t *", "size_t", "const int64_t *", "size_t", "const float *", "size_t",
    "rnn_state *", "rnn_step_report *",
)
rnn_trainer_evaluate, rnn_trainer_evaluate_f64 = _twins(
    "rnn_trainer_evaluate", "rnn_status", "rnn_trainer *", "size_t", "size_t", "const float *", "size_t",
    "const int64_t *", "size_t", "const int64_t *", "size_t", "const int64_t *", "size_t", "const float *", "size_t",
    "rnn_state *", "rnn_step_report *",
)
rnn_trainer_gradients, rnn_trainer_gradients_f64 = _twins(
    "rnn_trainer_gradients", "rnn_status", "rnn_trainer *", "float *", "size_t",
)
rnn_trainer_flow = _function(
    "rnn_trainer_flow", "rnn_status", "rnn_trainer *", "const rnn_backward_options *", "size_t *",
)
rnn_trainer_snapshot = _function("rnn_trainer_snapshot", "rnn_status", "rnn_trainer *", "rnn_network **")
rnn_trainer_update_network = _function("rnn_trainer_update_network", "rnn_status", "rnn_trainer *", "rnn_network *")
rnn_trainer_learning_rate_set = _function("rnn_trainer_learning_rate_set", "rnn_status", "rnn_trainer *", "double")
rnn_trainer_destroy = _function("rnn_trainer_destroy", "void", "rnn_trainer *")

# 9. Sampling

rnn_logits_sample, rnn_logits_sample_f64 = _twins(
    "rnn_logits_sample", "rnn_status", "const float *", "size_t", "const rnn_sample_options *", "int64_t *",
)
