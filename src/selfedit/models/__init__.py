"""Names become weights: the Hugging Face hub, a local folder, or a packaged small model. Importing this loads no torch."""

from selfedit.models.catalogue import DEFAULT, PackagedModel, packaged
from selfedit.models.fetch import pull
from selfedit.models.folder import identity, resolve
from selfedit.models.tokenizer import HFTokenizer
from selfedit.models.toy import Family, tiny
from selfedit.models.weights import load

__all__ = ["DEFAULT", "Family", "HFTokenizer", "PackagedModel", "identity", "load", "packaged", "pull", "resolve", "tiny"]
