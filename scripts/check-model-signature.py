#!/usr/bin/env python3
"""The reference tool of OpenSSF Model Signing beside our own rules (audit.md A54).

Needs Python 3 with the packages model-signing and pyOpenSSL (last looked at with model-signing 1.1.1). Never needed by build or tests.

    python3 scripts/check-model-signature.py                the vectors that `auditor/src/model_sig_tests.rs` reads
    python3 scripts/check-model-signature.py released       a directory that `concordat-server release` made

What we sign must hold there, and what does not hold there must not hold with us. The other way round we may be stricter, where STRICTER says so.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

VECTORS = pathlib.Path(__file__).parent.parent / "auditor/tests/testdata/vectors/model-signing.json"

# Bundles that the reference tool takes and `verify-model` refuses: a path to be left out that leads out of the model, a hash that the resources
# do not have, links that are followed, a second signature that nobody looks at.
STRICTER = {
    "what is left out lies above the model",
    "another hash",
    "links are followed",
    "two signatures",
}


def holds(tool, model, signature, key):
    """Whether the reference tool takes the signature."""
    command = [tool, "verify", "key", str(model), "--signature", str(signature), "--public_key", str(key)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "ModuleNotFoundError" in done.stderr:
        sys.exit(f"the reference tool does not start:\n{done.stderr}")
    return done.returncode == 0


def check_vectors(tool):
    """Names of the vectors that come out otherwise than they should."""
    vectors = json.loads(VECTORS.read_text())
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder) / "vector"
        model.mkdir()
        for name, text in vectors["files"].items():
            (model / name).write_text(text)
        key = pathlib.Path(folder) / "key.pub"
        key.write_text(vectors["public_key"])
        for case in vectors["cases"]:
            (model / "model.sig").write_text(case["bundle"])
            expected = case["expected"] == "holds" or case["name"] in STRICTER
            there = holds(tool, model, model / "model.sig", key)
            print(f"{'holds  ' if there else 'refused'}  {case['expected']:16} {case['name']}")
            if there != expected:
                wrong.append(case["name"])
        unknown = STRICTER - {case["name"] for case in vectors["cases"]}
    return wrong + [f"no vector: {name}" for name in sorted(unknown)]


def main():
    tool = shutil.which("model_signing")
    if tool is None:
        sys.exit("model_signing is not in the path: pip install model-signing pyOpenSSL")
    if len(sys.argv) > 1:
        released = pathlib.Path(sys.argv[1])
        good = holds(tool, released / "model", released / "model/model.sig", released / "evidence/release-key.pub")
        print("holds" if good else "REFUSED")
        sys.exit(0 if good else 1)
    wrong = check_vectors(tool)
    print("as it should be" if not wrong else f"OTHERWISE: {wrong}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
