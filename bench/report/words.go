package report

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// unit is how the values of a measure are written, by people in thresholds and by reports.
type unit uint8

const (
	count   unit = iota // of reviews, connections and the like
	nanos               // a duration
	micros              // a duration too, in a result that counts it in microseconds
	rate                // reviews a second
	share               // between 0 and 1, written in percent
	octets              // of memory
	boolean             // 0 or 1, written no or yes
)

// format writes a value with three digits or so.
func (u unit) format(v float64) string {
	switch u {
	case nanos:
		return duration(v)
	case micros:
		return duration(v * 1e3)
	case rate:
		return number(v) + "/s"
	case share:
		return number(v*100) + " %"
	case octets:
		return memory(v)
	case boolean:
		if v != 0 {
			return "yes"
		}
		return "no"
	}
	return number(v)
}

// number groups the digits of large numbers, and rounds small ones to three digits.
func number(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "?"
	}
	if math.Abs(v) >= 1e12 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	if math.Abs(v) < 99.95 && v != math.Trunc(v) {
		return significant(v)
	}
	text := strconv.FormatFloat(math.Abs(v), 'f', 0, 64)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	if v < 0 && text != "0" {
		text = "-" + text
	}
	return text
}

// tick writes a number that is round, as short as an axis needs it.
func tick(v float64) string {
	for _, s := range []scale{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if v >= 10*s.size && v < 1e12 {
			return strconv.FormatFloat(v/s.size, 'f', -1, 64) + s.name
		}
	}
	return number(v)
}

// significant writes three digits, without zeros that say nothing.
func significant(v float64) string {
	if v == 0 {
		return "0"
	}
	decimals := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	decimals = min(max(decimals, 0), 9)
	text := strconv.FormatFloat(v, 'f', decimals, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	if text == "-0" {
		text = "0"
	}
	return text
}

// scale is a unit by its size.
type scale struct {
	size float64
	name string
}

// duration writes nanoseconds in the unit in which they are easiest to read.
func duration(v float64) string {
	return scaled(v, scale{float64(time.Second), "s"}, scale{float64(time.Millisecond), "ms"}, scale{float64(time.Microsecond), "µs"}, scale{1, "ns"})
}

// memory writes bytes.
func memory(v float64) string {
	return scaled(v, scale{1 << 40, "TiB"}, scale{1 << 30, "GiB"}, scale{1 << 20, "MiB"}, scale{1 << 10, "KiB"}, scale{1, "B"})
}

func scaled(v float64, scales ...scale) string {
	for _, s := range scales {
		if math.Abs(v) >= 0.9995*s.size || s.size == 1 {
			if n := v / s.size; math.Abs(n) >= 99.95 {
				return number(n) + " " + s.name
			}
			return significant(v/s.size) + " " + s.name
		}
	}
	return number(v)
}

// plain makes text that came from elsewhere fit for one line of a terminal: nothing of it moves a cursor or turns the
// direction of writing.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, text)
}

// cut shortens text to a number of characters.
func cut(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n-1]) + "…"
}
