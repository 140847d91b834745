package faultfs_test

import (
	"errors"
	"math/rand/v2"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func errorIs(err, kind error) bool { return errors.Is(err, kind) }
