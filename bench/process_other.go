//go:build !linux

package bench

import "errors"

func processUsage(int) (usage, error) {
	return usage{}, errors.New("the accounts of processes are read on Linux only")
}

func ownUsage() usage { return usage{} }

func machineCores() cores { return cores{} }

func describe(*Machine) {}
