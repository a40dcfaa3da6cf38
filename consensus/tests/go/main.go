// Command main answers what the Go reference makes of a log: golang.org/x/mod/sumdb/tlog and …/note, from which the C2SP
// formats were drawn.
//
// It reads lines, each a JSON list of requests, and writes for each line one with the list of answers; an answer with
// "error" is the reference's refusal. It decides nothing that the reference decides: where this file has rules of its own
// (cosignatures, tlog-proof), they are of C2SP specifications that x/mod does not implement, written down a second time
// here. Started by mod.rs beside it; shares no code with what it is compared to.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"golang.org/x/mod/sumdb/tlog"
)

// A request names an operation and whatever that takes. Bytes and hashes are base64 in JSON.
type request struct {
	Op      string
	Size    int64             // of a tree, in leaves
	Old     int64             // size of an earlier tree
	Index   int64             // of a leaf
	Proof   []tlog.Hash       // from the leaf's side to the root's
	Root    tlog.Hash         // of the tree of Size
	OldRoot tlog.Hash         // of the tree of Old
	Leaf    tlog.Hash         // hash of the leaf at Index
	Entries [][]byte          // leaves before they are hashed
	Path    string            // of a tile
	Tiles   map[string][]byte // by path
	Note    []byte            // signed
	Text    []byte            // what a note is, or will be, over
	Keys    []string          // verifier keys
	Signer  string            // a signer key, as note.NewSigner has it
	Name    string            // of a new key
	Seed    []byte            // of a new key, 32 bytes
	Time    uint64            // of a cosignature
}

type answer = map[string]any

// The tree that append grows, as the reference stores it.
var stored []tlog.Hash

var tree = tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(stored)) {
			return nil, fmt.Errorf("no hash %d in a tree of %d", index, len(stored))
		}
		hashes[i] = stored[index]
	}
	return hashes, nil
})

// A tree too large to be made: each complete subtree's hash is SHA-256 of its level and index. Such hashes don't fit
// each other, but which of them a root or a proof is made of shows all the same.
var unmade = tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		hashes[i] = sha256.Sum256(binary.BigEndian.AppendUint64([]byte{byte(level)}, uint64(n)))
	}
	return hashes, nil
})

var operations = map[string]func(request) (answer, error){
	"append":            appendEntries,
	"inclusion":         func(r request) (answer, error) { return inclusion(r, tree) },
	"consistency":       func(r request) (answer, error) { return consistency(r, tree) },
	"check inclusion":   checkInclusion,
	"check consistency": checkConsistency,
	"unmade":            proveUnmade,
	"tiles":             newTiles,
	"tile":              tileBytes,
	"tile path":         tilePath,
	"read tiles":        readTiles,
	"key":               verifierKey,
	"open":              open,
	"generate":          generate,
	"sign":              sign,
	"cosign":            cosign,
	"tree text":         treeText,
	"log proof":         logProof,
}

func main() {
	lines, out := json.NewDecoder(bufio.NewReader(os.Stdin)), bufio.NewWriter(os.Stdout)
	lines.DisallowUnknownFields()
	for {
		var requests []request
		if err := lines.Decode(&requests); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			log.Fatalf("a request that is none: %v", err)
		}
		answers := make([]answer, len(requests))
		for i, r := range requests {
			operation, known := operations[r.Op]
			if !known {
				log.Fatalf("no operation %q", r.Op)
			}
			result, err := operation(r)
			if err != nil {
				result = answer{"error": err.Error()}
			}
			answers[i] = result
		}
		if err := json.NewEncoder(out).Encode(answers); err != nil {
			log.Fatal(err)
		}
		if err := out.Flush(); err != nil {
			log.Fatal(err)
		}
	}
}

// appendEntries grows the tree of Old leaves, and gives its root before and after each entry.
func appendEntries(r request) (answer, error) {
	root, err := tlog.TreeHash(r.Old, tree)
	if err != nil {
		return nil, err
	}
	roots := []tlog.Hash{root}
	for _, entry := range r.Entries {
		hashes, err := tlog.StoredHashes(r.Old, entry, tree)
		if err != nil {
			return nil, err
		}
		stored = append(stored, hashes...)
		r.Old++
		root, err := tlog.TreeHash(r.Old, tree)
		if err != nil {
			return nil, err
		}
		roots = append(roots, root)
	}
	return answer{"roots": roots}, nil
}

func inclusion(r request, from tlog.HashReader) (answer, error) {
	proof, err := tlog.ProveRecord(r.Size, r.Index, from)
	return answer{"proof": proof}, err
}

func consistency(r request, from tlog.HashReader) (answer, error) {
	proof, err := tlog.ProveTree(r.Size, r.Old, from)
	return answer{"proof": proof}, err
}

func checkInclusion(r request) (answer, error) {
	return answer{}, tlog.CheckRecord(r.Proof, r.Size, r.Root, r.Index, r.Leaf)
}

func checkConsistency(r request) (answer, error) {
	return answer{}, tlog.CheckTree(r.Proof, r.Size, r.Root, r.Old, r.OldRoot)
}

func proveUnmade(r request) (answer, error) {
	root, err := tlog.TreeHash(r.Size, unmade)
	if err != nil {
		return nil, err
	}
	included, err := inclusion(r, unmade)
	if err != nil {
		return nil, err
	}
	consistent, err := consistency(r, unmade)
	return answer{"root": root, "inclusion": included["proof"], "consistency": consistent["proof"]}, err
}
