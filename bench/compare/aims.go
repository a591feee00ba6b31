package main

import (
	"fmt"
	"runtime/debug"
)

// Aim is a ratio that sluice is to keep to, and whether it does.
type Aim struct {
	Text    string  `json:"text"`
	Limit   float64 `json:"limit"`
	Ratio   Spread  `json:"ratio"`
	Known   bool    `json:"known"`   // false: one of the two is missing
	Reached bool    `json:"reached"` // by the median
}

// aims are what is asked of sluice: a row of a group against another.
var aims = []struct {
	group, server, base string
	limit               float64
	text                string
}{
	{"h1", "sluice", "fasthttp static", 1.10, "warm HTTP/1.1 ≤ 1.10 × fasthttp static"},
	{"h1", "sluice", "nginx static", 1.00, "warm HTTP/1.1 ≤ 1.00 × nginx static"},
	{"h2-16x1", "sluice", "nginx static", 1.00, "warm HTTP/2, one stream a connection ≤ 1.00 × nginx static"},
	{"h2-3x50", "sluice", "nginx static", 0.25, "warm HTTP/2, 50 streams a connection ≤ 0.25 × nginx static"},
	{"plugin-bursts", "sluice", "net/http, same work", 0.70, "the plugin's client in bursts of 200 ≤ 0.70 × net/http over HTTP/2"},
	{"peers-warm", "sluice", ratifyCached, 0.125, "warm ≤ 1/8 of Ratify cached"},
	// Its store on disk spares it some of the registry in the first of these, and grows with every image in the second.
	{"peers-cold", "sluice", ratifyNoCache, 0.25, "cold ≤ 1/4 of Ratify without its cache, the same images again"},
	{"peers-cold", "sluice", ratifyNewImages, 0.25, "cold ≤ 1/4 of Ratify cold, each image once"},
}

// judge compares what was found with what was asked.
func (r *Report) judge() {
	r.Aims = []Aim{}
	for _, a := range aims {
		aim := Aim{Text: a.text, Limit: a.limit}
		for i := range r.Groups {
			if g := &r.Groups[i]; g.Name == a.group {
				aim.Ratio, aim.Known = g.row(a.server).against(g.row(a.base))
			}
		}
		aim.Reached = aim.Known && aim.Ratio.Median <= aim.Limit
		r.Aims = append(r.Aims, aim)
	}
	handshakes := Aim{Text: "the plugin's client: no handshake after the first"}
	for i := range r.Groups {
		if g := &r.Groups[i]; g.Name == "plugin-bursts" {
			if row := g.row("sluice"); row != nil && row.Error == "" {
				handshakes.Known = true
				handshakes.Ratio = row.column(func(s sample) float64 { return float64(s.Handshakes) })
				handshakes.Reached = handshakes.Ratio.Max == 0
			}
		}
	}
	r.Aims = append(r.Aims, handshakes)
}

func (a Aim) cells() (ratio, spread, reached string) {
	if !a.Known {
		return "", "", "not measured"
	}
	reached = "no"
	if a.Reached {
		reached = "yes"
	}
	return fmt.Sprintf("%.2f", a.Ratio.Median), fmt.Sprintf("%.2f to %.2f", a.Ratio.Min, a.Ratio.Max), reached
}

func (a Aim) String() string {
	ratio, spread, reached := a.cells()
	if !a.Known {
		return a.Text + ": " + reached
	}
	return fmt.Sprintf("%s: %s (%s): %s", a.Text, ratio, spread, reached)
}

// versions is what everything was, as far as it says.
func versions(tools string) map[string]string {
	all := versionsOf(tools)
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return all
	}
	for _, d := range info.Deps {
		switch d.Path {
		case "github.com/valyala/fasthttp", "k8s.io/client-go", "k8s.io/apiserver", "golang.org/x/net":
			all[d.Path] = d.Version
		}
	}
	return all
}
