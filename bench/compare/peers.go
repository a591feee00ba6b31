package main

import (
	"context"
)

// coldServers is how many servers see images that nobody has asked about before.
const coldServers = 2

// coldImages is how many each of them sees in a round.
func coldImages(p *plan) int {
	if p.short {
		return 20
	}
	return 800
}

func (p *plan) peers(ctx context.Context, ground *place, sluice *server) []group { return nil }
