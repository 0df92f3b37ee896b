"""What an editor asks about a source: tokens, completions, findings, hovers, definitions, signatures.

Pure functions of a text, a place and the catalog in force. A text is taken as a file laid over the catalog's sources,
or, when its path does not end in ``.memql``, as a raw request. It need not parse: nothing here raises for bad source.
Lines and columns count from 1, in characters.
"""

from __future__ import annotations

from memql.lang.sense.calls import signature_help
from memql.lang.sense.complete import complete
from memql.lang.sense.diagnose import diagnose
from memql.lang.sense.hover import definition, hover
from memql.lang.sense.model import Completion, Hover, Parameter, Signature, SignatureHelp, Target, Token
from memql.lang.sense.tokens import tokenize

__all__ = [
    "Completion",
    "Hover",
    "Parameter",
    "Signature",
    "SignatureHelp",
    "Target",
    "Token",
    "complete",
    "definition",
    "diagnose",
    "hover",
    "signature_help",
    "tokenize",
]
