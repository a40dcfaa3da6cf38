package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A cosigner signs and verifies as C2SP tlog-cosignature has it, type 0x04, which x/mod does not know.
type cosigner struct {
	name    string
	public  ed25519.PublicKey
	private ed25519.PrivateKey // nil in one that only verifies
	time    uint64             // of what it signs
}

func (c cosigner) Name() string { return c.name }

func (c cosigner) KeyHash() uint32 {
	sum := sha256.Sum256(append([]byte(c.name+"\n\x04"), c.public...))
	return binary.BigEndian.Uint32(sum[:])
}

func cosigned(time uint64, text []byte) []byte {
	return append([]byte(fmt.Sprintf("cosignature/v1\ntime %d\n", time)), text...)
}

func (c cosigner) Sign(text []byte) ([]byte, error) {
	time := binary.BigEndian.AppendUint64(nil, c.time)
	return append(time, ed25519.Sign(c.private, cosigned(c.time, text))...), nil
}

func (c cosigner) Verify(text, payload []byte) bool {
	if len(payload) != 8+ed25519.SignatureSize {
		return false
	}
	return ed25519.Verify(c.public, cosigned(binary.BigEndian.Uint64(payload), text), payload[8:])
}

// verifier reads a verifier key: a cosigner's here, any other the reference.
func verifier(key string) (note.Verifier, error) {
	parts := strings.SplitN(key, "+", 3)
	if len(parts) == 3 {
		typed, err := base64.StdEncoding.DecodeString(parts[2])
		if err == nil && len(typed) == 1+ed25519.PublicKeySize && typed[0] == 4 {
			c := cosigner{name: parts[0], public: typed[1:]}
			if parts[1] != fmt.Sprintf("%08x", c.KeyHash()) {
				return nil, errors.New("a cosigner's key ID that is another key's")
			}
			return c, nil
		}
	}
	return note.NewVerifier(key)
}

func verifiers(keys []string) (note.Verifiers, error) {
	var list []note.Verifier
	for _, key := range keys {
		v, err := verifier(key)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return note.VerifierList(list...), nil
}

// verifierKey is the reference's word alone.
func verifierKey(r request) (answer, error) {
	v, err := note.NewVerifier(r.Keys[0])
	if err != nil {
		return nil, err
	}
	return answer{"name": v.Name(), "id": v.KeyHash()}, nil
}

// open gives a note's text and who signed it, among the keys and besides. Each line that was verified has its payload.
func open(r request) (answer, error) {
	known, err := verifiers(r.Keys)
	if err != nil {
		return nil, err
	}
	n, err := note.Open(r.Note, known)
	if err != nil {
		return nil, err
	}
	lines := func(signatures []note.Signature) []answer {
		all := []answer{}
		for _, s := range signatures {
			all = append(all, answer{"name": s.Name, "id": s.Hash, "base64": s.Base64})
		}
		return all
	}
	return answer{"text": []byte(n.Text), "verified": lines(n.Sigs), "unverified": lines(n.UnverifiedSigs)}, nil
}

// generate makes a key pair of the reference's, whose randomness is the seed.
func generate(r request) (answer, error) {
	signer, key, err := note.GenerateKey(bytes.NewReader(r.Seed), r.Name)
	return answer{"signer": signer, "key": key}, err
}

// sign signs a text, or adds to a note that opens under the keys.
func sign(r request) (answer, error) {
	signer, err := note.NewSigner(r.Signer)
	if err != nil {
		return nil, err
	}
	return signed(r, signer)
}

// cosign is as sign, with a cosigner made of name, seed and time.
func cosign(r request) (answer, error) {
	private := ed25519.NewKeyFromSeed(r.Seed)
	return signed(r, cosigner{r.Name, private.Public().(ed25519.PublicKey), private, r.Time})
}

func signed(r request, signer note.Signer) (answer, error) {
	n := &note.Note{Text: string(r.Text)}
	if len(r.Note) > 0 {
		known, err := verifiers(r.Keys)
		if err != nil {
			return nil, err
		}
		if n, err = note.Open(r.Note, known); err != nil {
			return nil, err
		}
	}
	msg, err := note.Sign(n, signer)
	return answer{"note": msg}, err
}

// treeText reads what is a checkpoint if its origin is "go.sum database tree", the only one that x/mod has.
func treeText(r request) (answer, error) {
	t, err := tlog.ParseTree(r.Text)
	return answer{"size": t.N, "root": t.Hash}, err
}

// logProof checks a proof (C2SP tlog-proof) that the first of Entries is in a log: form and checkpoint are read here,
// signatures and path judged by the reference. Every key must have signed.
func logProof(r request) (answer, error) {
	head, msg, is := strings.Cut(string(r.Text), "\n\n")
	lines := strings.Split(head, "\n")
	if !is || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return nil, errors.New("not a proof")
	}
	extra, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return nil, err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return nil, err
	}
	var path tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return nil, err
		}
		path = append(path, hash)
	}
	known, err := verifiers(r.Keys)
	if err != nil {
		return nil, err
	}
	n, err := note.Open([]byte(msg), known)
	if err != nil {
		return nil, err
	}
	if len(n.Sigs) != len(r.Keys) {
		return nil, fmt.Errorf("%d of %d signed", len(n.Sigs), len(r.Keys))
	}
	// The three lines of a checkpoint differ from those of a tree of x/mod by the origin alone.
	origin, rest, _ := strings.Cut(n.Text, "\n")
	t, err := tlog.ParseTree([]byte("go.sum database tree\n" + rest))
	if err != nil {
		return nil, err
	}
	err = tlog.CheckRecord(path, t.N, t.Hash, index, tlog.RecordHash(r.Entries[0]))
	return answer{"extra": extra, "index": index, "origin": origin, "size": t.N}, err
}
