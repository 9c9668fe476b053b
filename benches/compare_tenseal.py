"""CKKS encryption, addition and decryption per parameter with TenSEAL, one thread, as JSON: the other side of `just bench-compare`.

Needs a Python environment outside this project with the packages tenseal and numpy. Parameters as in docs/benchmarks.md: N = 8192, moduli
of 60, 40 and 40 bits, 4096 values per ciphertext. Nothing of the build or the tests needs this file.
"""

import json
import statistics
import time

import numpy as np
import tenseal as ts

VALUES, CIPHERTEXTS, RUNS = 4096, 24, 7


def rate(work):
    """Parameters per second, and what the work gave."""
    started = time.perf_counter()
    result = work()
    return VALUES * CIPHERTEXTS / (time.perf_counter() - started), result


def main():
    context = ts.context(ts.SCHEME_TYPE.CKKS, poly_modulus_degree=8192, coeff_mod_bit_sizes=[60, 40, 40], n_threads=1)
    context.global_scale = 2**40
    data = [np.random.randn(VALUES).tolist() for _ in range(CIPHERTEXTS)]
    encrypted, added, decrypted = [], [], []
    for _ in range(RUNS):
        speed, sealed = rate(lambda: [ts.ckks_vector(context, values) for values in data])
        encrypted.append(speed)
        speed, _ = rate(lambda: [a + b for a, b in zip(sealed, sealed[1:] + sealed[:1])])
        added.append(speed)
        speed, _ = rate(lambda: [vector.decrypt() for vector in sealed])
        decrypted.append(speed)
    figures = {"encrypt_params_per_s": encrypted, "add_params_per_s": added, "decrypt_params_per_s": decrypted}
    answer = {name: statistics.median(speeds) for name, speeds in figures.items()}
    answer |= {name + "_least": min(speeds) for name, speeds in figures.items()}
    answer["bytes_per_param"] = len(sealed[0].serialize()) / VALUES
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
