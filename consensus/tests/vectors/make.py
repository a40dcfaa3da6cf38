#!/usr/bin/env python3
"""Writes blocks.json, bodies.json, chain.json and enrolment.json: what every signed byte must be.

A second implementation of docs/protocol.md's bytes, sharing no code with the Rust one: the tests
compare, so that an accidental change of a signed byte cannot pass. Needs: pip install blake3
pynacl cryptography.
"""
import base64
import hashlib
import json
import pathlib

import blake3
import nacl.bindings as sodium
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HERE = pathlib.Path(__file__).parent


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def derive(context, message, length=32):
    return blake3.blake3(message, derive_key_context="warifu/1 " + context).digest(length)


def seed(name):
    return hashlib.sha256(b"warifu test vector: " + name.encode()).digest()


class Key:
    def __init__(self, name):
        self.seed = seed(name)
        self.private = Ed25519PrivateKey.from_private_bytes(self.seed)
        self.public = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, message):
        return self.private.sign(message)


DEVICE, BROKER, TRUST, ACCOUNT = Key("device"), Key("broker"), Key("trust"), Key("account")
KEYS = {1: DEVICE, 2: BROKER, 3: TRUST}
ISS = "https://ledger.example"
AUD = "https://bank.example"
TRANSCRIPT = seed("transcript")
SUB = derive("account name", TRANSCRIPT)[:16]
JWK = '{"crv":"Ed25519","kty":"OKP","x":"%s"}' % b64(ACCOUNT.public)
KID = b64(hashlib.sha256(JWK.encode()).digest())
VERBS = ["assent", "endorse", "seal", "deny", "disown", "freeze", "commitment", "share",
         "transcript", "head", "ticket", "session-key", "erase"]
ADMIT = ["genesis", "login", "approve", "change", "unfreeze"]
RESTRICT = ["deny", "refuse", "expire", "restored", "freeze", "revoke"]


def statement(verb, role, sub, digest):
    return b"warifu-vote/1" + bytes([VERBS.index(verb) + 1, role]) + sub + digest


def vote(verb, role, digest):
    return "ed25519:" + b64(KEYS[role].sign(statement(verb, role, SUB, digest)))


def claims_json(kind, height, prev, body="", supersedes=None, iat=1790000000, nonce="login"):
    own = kind in ("genesis", "restored", "freeze", "revoke")
    claims = {
        "iss": ISS, "sub": b64(SUB), "aud": ISS if own else AUD, "iat": iat, "exp": iat + 90,
        "nonce": b64(seed(nonce)), "kind": kind, "height": height, "prev": b64(prev), "epoch": 0,
        "body": body, "supersedes": supersedes,
    }
    if kind == "genesis":
        claims["cnf"] = {"jwk": json.loads(JWK)}
        claims["parties"] = [b64(KEYS[role].public) for role in (1, 2, 3)]
        claims["transcript"] = b64(TRANSCRIPT)
    return json.dumps(claims, separators=(",", ":"))


def signing_input(kind, text):
    if kind in ADMIT:
        header = '{"alg":"EdDSA","kid":"%s","typ":"warifu-block+jwt"}' % KID
    else:
        header = '{"alg":"EdDSA","typ":"warifu-restrict+jwt"}'
    return b64(header.encode()) + "." + b64(text.encode())


def block(kind, height, prev, **more):
    text = claims_json(kind, height, prev, **more)
    signed = signing_input(kind, text)
    aad = claims_json(kind, height, prev, **{**more, "body": ""})
    return {"kind": kind, "claims": text, "aad": aad, "input": signed,
            "hash": derive("block", signed.encode()).hex()}


def sealed(made, word=None):
    signed, digest = made["input"], bytes.fromhex(made["hash"])
    if made["kind"] in ADMIT:
        proof = {"account": b64(ACCOUNT.sign(signed.encode()))}
        votes = {verb: vote(verb, role, digest)
                 for role, verb in enumerate(("assent", "endorse", "seal"), 1)}
        if made["kind"] == "genesis":
            votes["transcript"] = [vote("transcript", role, TRANSCRIPT) for role in (1, 2, 3)]
    else:
        proof = {"broker": b64(BROKER.sign(signed.encode())),
                 "trust_operator": b64(TRUST.sign(signed.encode()))}
        votes = {"word": word and {"verb": word[0], "hash": b64(word[1]),
                                   "vote": vote(word[0], 1, word[1])}}
    return json.dumps({"block": signed, "proof": proof, "votes": votes}, separators=(",", ":"))


def body(name, content):
    prev, height = seed("prev"), 7
    content_key, salt, nonce = seed("content key"), seed("salt"), seed(name)[:24]
    aad = claims_json("approve", height, prev)
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    padded = text + b"\x80"
    padded += bytes(-len(padded) % 256)
    output = derive("body key and commitment",
                    content_key + salt + prev + SUB + height.to_bytes(8, "big"), 64)
    ciphertext = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(
        padded, aad.encode(), nonce, output[:32])
    claim = derive("body claim", nonce + output[32:] + ciphertext)
    made = block("approve", height, prev, body=b64(claim))
    return {"body": text.decode(), "content_key": content_key.hex(), "salt": salt.hex(),
            "nonce": nonce.hex(), "aad": aad, "commitment": output[32:].hex(),
            "ciphertext": ciphertext.hex(), "claim": claim.hex(), "input": made["input"],
            "content_key_hash": derive("content key hash", content_key).hex()}


def variable(raw):
    return len(raw).to_bytes(4, "big") + raw


def enrolment():
    """The objects of votes 7 to 9, 11 and 12, the hello's MAC and the six digits."""
    session, secret, exp, public = b"\x11" * 32, b"\x22" * 32, 1790000600, bytes(range(32))
    addresses = ["/ip4/192.0.2.1/tcp/7101"], ["/ip4/192.0.2.2/tcp/7102"]
    ticket = variable(ISS.encode()) + BROKER.public + TRUST.public + session
    for several in addresses:
        ticket += len(several).to_bytes(4, "big")
        ticket += b"".join(variable(one.encode()) for one in several)
    ticket = derive("enrolment ticket", ticket + secret + exp.to_bytes(8, "big"))
    key = derive("enrolment session key", session + bytes([1]) + public)
    mac_key = derive("ticket mac", secret)
    mac = blake3.blake3(session + DEVICE.public + public, key=mac_key).digest()
    packages = [bytes([n]) * 160 for n in (1, 2, 3)]
    roster = DEVICE.public + BROKER.public + TRUST.public
    keys = b"".join(bytes([n]) * 32 for n in (4, 5, 6, 7))
    transcript = derive("enrolment transcript", session + variable(ISS.encode()) + roster
                        + b"".join(packages) + keys + b"\x08" * 32)
    digits = int.from_bytes(derive("enrolment digits", transcript)[:8], "big") % 10**6
    commitments = [DEVICE.public + BROKER.public, BROKER.public + TRUST.public,
                   TRUST.public + DEVICE.public]
    package, block_hash = derive("signing package", b"".join(commitments)), seed("object")
    commitment = derive("commitment vote", block_hash + commitments[0])
    share = derive("share vote", block_hash + package + b"\x05" * 32)

    def zero(verb, role, digest):
        return "ed25519:" + b64(KEYS[role].sign(statement(verb, role, bytes(16), digest)))

    return {
        "session": session.hex(), "secret": secret.hex(), "exp": exp,
        "broker_addresses": addresses[0], "trust_operator_addresses": addresses[1],
        "session_public": public.hex(),
        "ticket": {"hash": ticket.hex(), "vote": zero("ticket", 2, ticket)},
        "session_key": {"hash": key.hex(), "vote": zero("session-key", 1, key)},
        "mac": mac.hex(), "transcript": transcript.hex(), "digits": "%06d" % digits,
        "commitments": [one.hex() for one in commitments], "package": package.hex(),
        "block_hash": block_hash.hex(), "share": (b"\x05" * 32).hex(),
        "commitment_object": commitment.hex(), "share_object": share.hex(),
    }


def write(name, content):
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (HERE / name).write_text(text + "\n", encoding="utf-8")


def main():
    prev, taken = seed("prev"), seed("superseded")
    needs_body = ("login", "approve", "change", "unfreeze")
    kinds = [block("genesis", 0, bytes(32), nonce="session")]
    kinds += [block(kind, 9, prev, body=b64(seed("body")) if kind in needs_body else "")
              for kind in ADMIT[1:] + RESTRICT]
    kinds += [block(kind, 9, prev, supersedes=b64(taken)) for kind in RESTRICT]
    statements = []
    for number, verb in enumerate(VERBS, 1):
        for role in (1, 2, 3):
            sub = bytes(16) if verb in ("ticket", "session-key") else SUB
            message = statement(verb, role, sub, seed("object"))
            statements.append({"verb": number, "role": role, "sub": sub.hex(),
                               "hash": seed("object").hex(), "bytes": message.hex(),
                               "vote": "ed25519:" + b64(KEYS[role].sign(message))})
    contexts = ["block", "commitment vote", "share vote", "signing package",
                "enrolment transcript", "account name", "body key and commitment", "body claim",
                "enrolment ticket", "enrolment session key", "ticket mac", "content key hash",
                "enrolment digits", "used challenge", "trace", "log opener", "log opening"]
    write("blocks.json", {
        "seeds": {"device": DEVICE.seed.hex(), "broker": BROKER.seed.hex(),
                  "trust_operator": TRUST.seed.hex(), "account": ACCOUNT.seed.hex()},
        "account_key": ACCOUNT.public.hex(), "kid": KID,
        "transcript": TRANSCRIPT.hex(), "sub": b64(SUB),
        "contexts": [{"context": "warifu/1 " + name, "hash": derive(name, "割符".encode()).hex()}
                     for name in contexts],
        "fields": derive("enrolment ticket", b"ab" + b"\x00\x00\x00\x03cde" + bytes(4)).hex(),
        "statements": statements, "blocks": kinds,
    })
    write("bodies.json", [
        body("plain", {"channel": "web", "address": "203.0.113.7", "details": [],
                       "reference": None}),
        body("japanese", {"channel": "ウェブ", "address": "東京都",
                          "details": [{"label": "振込先", "value": "葛\U000e0100飾 花子　様"},
                                      {"label": "金額 \"円\" \\", "value": "1,000,000"}],
                          "reference": "本人確認 第12号"}),
    ])
    write("enrolment.json", enrolment())
    chain, before = [], bytes(32)

    def add(kind, word=None, **more):
        nonlocal before
        made = block(kind, len(chain), before, **more)
        before = bytes.fromhex(made["hash"])
        chain.append(sealed(made, word))

    add("genesis", nonce="session")
    add("login", body=b64(seed("body")))
    add("deny", word=("deny", taken), supersedes=b64(taken))
    add("refuse")
    add("expire", supersedes=b64(taken))
    add("approve", body=b64(seed("body")))
    add("freeze", word=("freeze", before))
    add("restored")
    add("unfreeze", body=b64(seed("body")))
    add("change", body=b64(seed("body")))
    add("revoke")
    write("chain.json", {"iss": ISS, "broker": b64(BROKER.public),
                         "trust_operator": b64(TRUST.public), "sealed": chain})


main()
