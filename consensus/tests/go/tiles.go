package main

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// height is that of C2SP's tiles, which is why their paths don't name it: tile/L/N there is tile/8/L/N here.
const height = 8

// newTiles gives the paths of every tile that a tree grown from Old to Size has and had not.
func newTiles(r request) (answer, error) {
	var paths []string
	for _, tile := range tlog.NewTiles(height, r.Old, r.Size) {
		paths = append(paths, tile.Path())
	}
	return answer{"paths": paths}, nil
}

func tileBytes(r request) (answer, error) {
	tile, err := tlog.ParseTilePath(r.Path)
	if err != nil {
		return nil, err
	}
	data, err := tlog.ReadTileData(tile, tree)
	return answer{"bytes": data}, err
}

func tilePath(r request) (answer, error) {
	tile, err := tlog.ParseTilePath(r.Path)
	return answer{"level": tile.L, "index": tile.N, "width": tile.W}, err
}

// given serves the tiles of a request.
type given map[string][]byte

func (given) Height() int { return height }

func (g given) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, is := g[tile.Path()]
		if !is {
			return nil, fmt.Errorf("no %s", tile.Path())
		}
		all = append(all, data)
	}
	return all, nil
}

func (given) SaveTiles([]tlog.Tile, [][]byte) {}

// readTiles gives the leaves' hashes of a tree and the inclusion proof of the leaf at Index, from tiles that the
// reference's reader checked against the tree's root. The proof is checked too: if several parts of a tree's right edge
// lie in one tile, the reader (of x/mod 0.7.0, and of its ports) leaves as many other tiles unchecked.
func readTiles(r request) (answer, error) {
	reader := tlog.TileHashReader(tlog.Tree{N: r.Size, Hash: r.Root}, given(r.Tiles))
	var indexes []int64
	for leaf := int64(0); leaf < r.Size; leaf++ {
		indexes = append(indexes, tlog.StoredHashIndex(0, leaf))
	}
	leaves, err := reader.ReadHashes(indexes)
	if err != nil {
		return nil, err
	}
	proof, err := tlog.ProveRecord(r.Size, r.Index, reader)
	if err != nil {
		return nil, err
	}
	err = tlog.CheckRecord(proof, r.Size, r.Root, r.Index, leaves[r.Index])
	return answer{"leaves": leaves, "proof": proof}, err
}
