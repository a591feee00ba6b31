package report

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// figure is one plot.
type figure struct {
	name  string // of the plot, unique in a page
	title string
	about string // what is to be seen, for whoever cannot see it
	x, y  axis
	under string // the x axis' title
	lines []line
}

// line is one line of a plot.
type line struct {
	name   string
	color  int  // one of colors
	dashed bool // for what was meant, as against what was
	steps  bool // whether values hold over a stretch and then change at once
	points []point
}

// point is a value; a y that is not a number breaks the line.
type point struct{ x, y float64 }

// colors is how many there are: classes c0 and on of the style sheets.
const colors = 6

// The size of a figure, in its own pixels.
const (
	width, height       = 640.0, 300.0
	left, right, bottom = 66.0, 18.0, 44.0
	lineHeight          = 18.0
	charWidth           = 6.7 // of the legend's letters, on average and a little more
)

// ownStyle makes a figure readable alone, on a light and on a dark ground.
const ownStyle = `<style>text{font:12px system-ui,sans-serif;fill:#7d8590}.t{font-size:14px;font-weight:600}` +
	`.g{stroke:#7d8590;stroke-opacity:.25}.a{stroke:#7d8590}.l{fill:none;stroke-width:2;stroke-linejoin:round}` +
	`.c0{stroke:#2f81f7}.c1{stroke:#d9730d}.c2{stroke:#1a9f5a}.c3{stroke:#e5534b}.c4{stroke:#8d62e8}.c5{stroke:#7d8590}` +
	`.d{stroke-dasharray:5 4}.k{stroke-width:5;stroke-linecap:round;stroke-dasharray:none}</style>`

// svg draws the figure. Alone, it has its own style and namespace; else it has the page's.
func (f *figure) svg(alone bool) string {
	var b strings.Builder
	id := html.EscapeString(f.name)
	b.WriteString(`<svg `)
	if alone {
		b.WriteString(`xmlns="http://www.w3.org/2000/svg" `)
	}
	legend, top := f.legend()
	fmt.Fprintf(&b, `viewBox="0 0 %g %g" role="img" aria-labelledby="%s-t %s-d">`, width, height, id, id)
	fmt.Fprintf(&b, `<title id="%s-t">%s</title><desc id="%s-d">%s</desc>`, id, html.EscapeString(f.title), id, html.EscapeString(plain(f.about)))
	if alone {
		b.WriteString(ownStyle)
	}
	fmt.Fprintf(&b, "\n"+`<text class="t" x="%g" y="18">%s</text>`, left, html.EscapeString(f.title))
	b.WriteString("\n" + legend)

	f.x.from, f.x.to = left, width-right
	f.y.from, f.y.to = height-bottom, top
	f.grid(&b)
	for i := range f.lines {
		f.lines[i].draw(&b, &f.x, &f.y)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// legend draws the lines' names below the title, in as many rows as they need, and tells where the plot may begin.
func (f *figure) legend() (svg string, top float64) {
	var b strings.Builder
	x, y := left, 38.0
	for i := range f.lines {
		l := &f.lines[i]
		name := cut(plain(l.name), 48)
		wide := 24 + charWidth*float64(utf8.RuneCountInString(name)) + 14
		if x > left && x+wide > width-right {
			x, y = left, y+lineHeight
		}
		class := "l k"
		if l.dashed {
			class = "l d"
		}
		fmt.Fprintf(&b, `<line class="%s c%d" x1="%s" y1="%s" x2="%s" y2="%s"/><text x="%s" y="%s">%s</text>`+"\n",
			class, l.color%colors, px(x+2), px(y-4), px(x+17), px(y-4), px(x+24), px(y), html.EscapeString(name))
		x += wide
	}
	return b.String(), y + 14
}

func (f *figure) grid(b *strings.Builder) {
	values, named := f.y.ticks()
	for i, v := range values {
		y := f.y.at(v)
		fmt.Fprintf(b, `<line class="g" x1="%s" y1="%s" x2="%s" y2="%s"/>`, px(left), px(y), px(width-right), px(y))
		if named[i] {
			fmt.Fprintf(b, `<text x="%s" y="%s" text-anchor="end">%s</text>`, px(left-8), px(y+4), html.EscapeString(f.y.label(v)))
		}
		b.WriteByte('\n')
	}
	values, named = f.x.ticks()
	base := height - bottom
	for i, v := range values {
		if !named[i] {
			continue
		}
		x := f.x.at(v)
		anchor := "middle"
		if x > width-right-24 {
			anchor = "end" // so that it is not cut off
		}
		fmt.Fprintf(b, `<line class="a" x1="%s" y1="%s" x2="%s" y2="%s"/><text x="%s" y="%s" text-anchor="%s">%s</text>`+"\n",
			px(x), px(base), px(x), px(base+4), px(min(x, width-right)), px(base+18), anchor, html.EscapeString(f.x.label(v)))
	}
	fmt.Fprintf(b, `<line class="a" x1="%s" y1="%s" x2="%s" y2="%s"/>`+"\n", px(left), px(base), px(width-right), px(base))
	fmt.Fprintf(b, `<text x="%s" y="%s" text-anchor="middle">%s</text>`+"\n", px((left+width-right)/2), px(height-6), html.EscapeString(f.under))
}

// draw writes the line in pieces without gaps. A point that stands alone is a dot.
func (l *line) draw(b *strings.Builder, x, y *axis) {
	class := fmt.Sprintf("l c%d", l.color%colors)
	if l.dashed {
		class += " d"
	}
	for piece := range pieces(l.points) {
		if len(piece) == 1 {
			fmt.Fprintf(b, `<line class="l k c%d" x1="%s" y1="%s" x2="%s" y2="%s"/>`+"\n", l.color%colors,
				px(x.at(piece[0].x)), px(y.at(piece[0].y)), px(x.at(piece[0].x)+0.1), px(y.at(piece[0].y)))
			continue
		}
		fmt.Fprintf(b, `<path class="%s" d="`, class)
		for i, p := range piece {
			at, to := px(x.at(p.x)), px(y.at(p.y))
			switch {
			case i == 0:
				b.WriteString("M" + at + " " + to)
			case l.steps:
				b.WriteString("H" + at + "V" + to)
			default:
				b.WriteString("L" + at + " " + to)
			}
		}
		b.WriteString("\"/>\n")
	}
}

// pieces yields the stretches of points whose values are numbers.
func pieces(points []point) func(yield func([]point) bool) {
	gap := func(p point) bool { return !finite(p.x) || !finite(p.y) }
	return func(yield func([]point) bool) {
		for len(points) > 0 {
			begin := slices.IndexFunc(points, func(p point) bool { return !gap(p) })
			if begin < 0 {
				return
			}
			points = points[begin:]
			end := slices.IndexFunc(points, gap)
			if end < 0 {
				end = len(points)
			}
			if !yield(points[:end]) {
				return
			}
			points = points[end:]
		}
	}
}

// px writes a coordinate.
func px(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }
