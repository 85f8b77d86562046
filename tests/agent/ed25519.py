"""Ed25519 as RFC 8032 has it, for the signatures of the stand-in Agent: the standard library has none. It takes no care
to hide its secrets in time, so it is for keys that live as long as a test.
"""

import hashlib

PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
CURVE = -121665 * pow(121666, -1, PRIME) % PRIME
ROOT_OF_MINUS_ONE = pow(2, (PRIME - 1) // 4, PRIME)

# A point is (X, Y, Z, T) with x = X/Z, y = Y/Z and xy = T/Z: so that adding needs no division.
NEUTRAL = (0, 1, 1, 0)


def add(one, other):
    a = (one[1] - one[0]) * (other[1] - other[0]) % PRIME
    b = (one[1] + one[0]) * (other[1] + other[0]) % PRIME
    c = 2 * one[3] * other[3] * CURVE % PRIME
    d = 2 * one[2] * other[2] % PRIME
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % PRIME, g * h % PRIME, f * g % PRIME, e * h % PRIME


def times(number, point):
    result = NEUTRAL
    while number:
        if number & 1:
            result = add(result, point)
        point = add(point, point)
        number >>= 1
    return result


def same(one, other):
    return (one[0] * other[2] - other[0] * one[2]) % PRIME == 0 == (one[1] * other[2] - other[1] * one[2]) % PRIME


def encoded(point):
    inverse = pow(point[2], -1, PRIME)
    x, y = point[0] * inverse % PRIME, point[1] * inverse % PRIME
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decoded(data):
    """The point, or None if these bytes are none."""
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    if len(data) != 32 or y >= PRIME:
        return None
    square = (y * y - 1) * pow(CURVE * y * y + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if (x * x - square) % PRIME:
        x = x * ROOT_OF_MINUS_ONE % PRIME
    if (x * x - square) % PRIME or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = PRIME - x
    return x, y, 1, x * y % PRIME


BASE = decoded((4 * pow(5, -1, PRIME) % PRIME).to_bytes(32, "little"))


def scalar(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


def expanded(secret):
    """The number behind a secret of 32 bytes, and what its signatures are salted with."""
    digest = hashlib.sha512(secret).digest()
    number = int.from_bytes(digest[:32], "little")
    return number & (1 << 254) - 8 | 1 << 254, digest[32:]


def public(secret):
    return encoded(times(expanded(secret)[0], BASE))


def sign(secret, message):
    number, salt = expanded(secret)
    nonce = scalar(salt, message) % ORDER
    point = encoded(times(nonce, BASE))
    challenge = scalar(point, public(secret), message)
    return point + ((nonce + challenge * number) % ORDER).to_bytes(32, "little")


def verify(key, message, signature):
    point, of_key = decoded(signature[:32]), decoded(key)
    answer = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or point is None or of_key is None or answer >= ORDER:
        return False
    challenge = scalar(signature[:32], key, message) % ORDER
    return same(times(answer, BASE), add(point, times(challenge, of_key)))
