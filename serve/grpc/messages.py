"""The messages of the protocol, made of their descriptors when this is imported.

In a pool of their own: generated code would put them into the one that the process shares, which takes no second
`inference.ModelInferRequest`, and a client's library (Triton's, KServe's) brings one.
"""

from importlib.resources import files
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from serve.refusals import BadRequestError

#: What the methods of the service are found under.
SERVICE = "inference.GRPCInferenceService"

DESCRIPTORS = "open_inference.binpb"

#: A message; its fields are the protocol's.
Message = Any

_POOL = DescriptorPool()
for _file in FileDescriptorSet.FromString(files(__package__).joinpath(DESCRIPTORS).read_bytes()).file:
    _POOL.AddSerializedFile(_file.SerializeToString())


def _message(name: str) -> Any:
    return GetMessageClass(_POOL.FindMessageTypeByName(f"inference.{name}"))


ServerLiveResponse = _message("ServerLiveResponse")
ServerReadyResponse = _message("ServerReadyResponse")
ServerMetadataResponse = _message("ServerMetadataResponse")
ModelReadyRequest = _message("ModelReadyRequest")
ModelReadyResponse = _message("ModelReadyResponse")
ModelMetadataRequest = _message("ModelMetadataRequest")
ModelMetadataResponse = _message("ModelMetadataResponse")
ModelInferRequest = _message("ModelInferRequest")
ModelInferResponse = _message("ModelInferResponse")


def parsed(kind: Any, content: bytes) -> Message:
    """The message that came as `content`.

    Raises:
        BadRequestError: it is none of that kind.
    """
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise BadRequestError(f"the message is no {kind.DESCRIPTOR.name}.") from error
