package schedule

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxText and maxPhases bound what Parse takes.
const (
	maxText   = 64 << 10
	maxPhases = 10_000
)

// SyntaxError tells where in a schedule's text something is wrong.
type SyntaxError struct {
	Text    string
	At      int // the byte of Text at which the trouble begins
	Problem string
}

// Error is the problem, and below it the text with a caret under the place.
func (e *SyntaxError) Error() string {
	const around = 60 // characters shown before the place, and after it
	flat := func(s string) []rune {
		return []rune(strings.Map(func(r rune) rune {
			if !unicode.IsPrint(r) {
				return ' '
			}
			return r
		}, s))
	}
	before, after := flat(e.Text[:e.At]), flat(e.Text[e.At:])
	if len(before) > around {
		before = append([]rune("…"), before[len(before)-around:]...)
	}
	if len(after) > around {
		after = append(after[:around:around], '…')
	}
	return fmt.Sprintf("%s\n  %s%s\n  %s^", e.Problem, string(before), string(after), strings.Repeat(" ", len(before)))
}

// Hint is what to write instead.
func (e *SyntaxError) Hint() string {
	return "phases are: constant 1000/s for 30s; ramp 100/s to 5000/s for 1m; step 1000/s to 5000/s by 1000/s every 10s; " +
		"burst 200 every 250ms for 10s; burst 200; pause 5s"
}

// Parse reads a schedule as it is written on a command line:
//
//	constant 1000/s for 30s
//	ramp 100/s to 5000/s for 1m
//	step 1000/s to 5000/s by 1000/s every 10s
//	burst 200 every 250ms for 10s
//	burst 200 for 5s
//	burst 200
//	pause 5s
//
// Phases are joined by a semicolon, a comma or the word then. Rates are reviews a second (/s) or a minute (/m). A step
// becomes constant phases, the last at the rate named or the nearest before it. A burst without a duration takes no
// time; if nothing else in the schedule does either, it lasts a second. Errors are of type *SyntaxError, or what
// Validate says.
func Parse(text string) (Schedule, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("a schedule is written in up to %d bytes, not %d", maxText, len(text))
	}
	if !utf8.ValidString(text) {
		return nil, errors.New("a schedule is written in UTF-8")
	}
	p := parser{text: text}
	p.next()
	var s Schedule
	for {
		phases, err := p.phase()
		if err != nil {
			return nil, err
		}
		if s = append(s, phases...); len(s) > maxPhases {
			return nil, fmt.Errorf("a schedule has up to %d phases", maxPhases)
		}
		if p.word == "" {
			break
		}
		if p.word != ";" && p.word != "," && p.word != "then" {
			return nil, p.wrong("here the phase has ended; join phases with ; or then, not with %q", p.word)
		}
		p.next()
	}
	if s.Duration() == 0 && s.reviews() > 0 {
		s[len(s)-1].Duration = time.Second
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return s, nil
}

// parser walks through the words of a text.
type parser struct {
	text string
	rest int    // where the next word is looked for
	at   int    // where word begins
	word string // "" at the end
}

func (p *parser) next() {
	for p.rest < len(p.text) {
		r, size := utf8.DecodeRuneInString(p.text[p.rest:])
		if !unicode.IsSpace(r) {
			break
		}
		p.rest += size
	}
	p.at = p.rest
	end := strings.IndexFunc(p.text[p.at:], func(r rune) bool { return r == ';' || r == ',' || unicode.IsSpace(r) })
	switch {
	case end < 0:
		p.rest = len(p.text)
	case end == 0:
		p.rest = p.at + 1 // a separator
	default:
		p.rest = p.at + end
	}
	p.word = p.text[p.at:p.rest]
}

func (p *parser) wrong(format string, args ...any) error {
	return &SyntaxError{p.text, p.at, fmt.Sprintf(format, args...)}
}

// take reads over one of the words, which is what has to come next.
func (p *parser) take(words ...string) error {
	for _, w := range words {
		if p.word == w {
			p.next()
			return nil
		}
	}
	return p.missing(strconv.Quote(words[0]))
}

func (p *parser) missing(what string) error {
	if p.word == "" {
		return p.wrong("%s is missing at the end", what)
	}
	return p.wrong("%s is missing before %q", what, p.word)
}

func (p *parser) phase() (Schedule, error) {
	kind := p.word
	read := map[string]func() (Schedule, error){
		"constant": p.constant, "ramp": p.ramp, "step": p.step, "burst": p.burst, "pause": p.pause,
	}[kind]
	if read == nil {
		if kind == "" {
			return nil, p.wrong("a phase is missing at the end")
		}
		return nil, p.wrong("a phase begins with constant, ramp, step, burst or pause, not with %q", kind)
	}
	at := p.at
	p.next()
	s, err := read()
	if err != nil {
		return nil, err
	}
	for i := range s {
		if err := s[i].validate(); err != nil {
			return nil, &SyntaxError{p.text, at, err.Error()}
		}
	}
	return s, nil
}

func (p *parser) constant() (Schedule, error) {
	rate, err := p.rate()
	if err != nil {
		return nil, err
	}
	if err := p.take("for"); err != nil {
		return nil, err
	}
	d, err := p.duration()
	return Schedule{{Duration: d, Rate: rate}}, err
}

func (p *parser) ramp() (Schedule, error) {
	from, to, err := p.rates()
	if err != nil {
		return nil, err
	}
	if err := p.take("for", "over"); err != nil {
		return nil, err
	}
	d, err := p.duration()
	return Schedule{{Duration: d, Rate: from, To: to, Ramp: true}}, err
}

// rates reads RATE to RATE.
func (p *parser) rates() (from, to float64, err error) {
	if from, err = p.rate(); err != nil {
		return 0, 0, err
	}
	if err = p.take("to"); err != nil {
		return 0, 0, err
	}
	to, err = p.rate()
	return from, to, err
}

func (p *parser) step() (s Schedule, err error) {
	from, to, err := p.rates()
	if err != nil {
		return nil, err
	}
	if err := p.take("by"); err != nil {
		return nil, err
	}
	at := p.at
	by, err := p.rate()
	if err != nil {
		return nil, err
	}
	if err := p.take("every"); err != nil {
		return nil, err
	}
	d, err := p.duration()
	if err != nil {
		return nil, err
	}
	steps := math.Floor(math.Abs(to-from)/by + 1e-9) // a rate of 0.3 is three steps of 0.1
	if by <= 0 || steps >= maxPhases {
		return nil, &SyntaxError{p.text, at, fmt.Sprintf("a step leads to the last rate in up to %d phases", maxPhases)}
	}
	for i := range int(steps) + 1 {
		s = append(s, Phase{Duration: d, Rate: from + math.Copysign(by, to-from)*float64(i)})
	}
	return s, nil
}

func (p *parser) burst() (Schedule, error) {
	size, err := strconv.Atoi(p.word)
	if err != nil || size <= 0 {
		return nil, p.wrong("a burst has a size, such as 200, not %q", p.word)
	}
	p.next()
	phase := Phase{Burst: size}
	if p.word == "every" {
		p.next()
		at := p.at
		if phase.Every, err = p.duration(); err != nil {
			return nil, err
		}
		if phase.Every == 0 {
			return nil, &SyntaxError{p.text, at, "bursts are at least 1ms apart"}
		}
		if p.word != "for" {
			return nil, p.missing(`"for"`)
		}
	}
	if p.word == "for" {
		p.next()
		if phase.Duration, err = p.duration(); err != nil {
			return nil, err
		}
	}
	return Schedule{phase}, nil
}

func (p *parser) pause() (Schedule, error) {
	d, err := p.duration()
	return Schedule{{Duration: d}}, err
}

func (p *parser) rate() (float64, error) {
	if p.word == "" || p.word == ";" || p.word == "," {
		return 0, p.missing("a rate, such as 1000/s,")
	}
	number, unit, _ := strings.Cut(p.word, "/")
	rate, err := strconv.ParseFloat(number, 64)
	if err != nil || strings.Trim(number, "0123456789.") != "" {
		return 0, p.wrong("a rate is written like 1000/s, not %q", p.word)
	}
	switch unit {
	case "s":
	case "m", "min":
		rate /= 60
	case "":
		return 0, p.wrong("a rate needs its unit: %s/s or %s/m", number, number)
	default:
		return 0, p.wrong("a rate is a second's (/s) or a minute's (/m), not %q", "/"+unit)
	}
	p.next()
	return rate, nil
}

func (p *parser) duration() (time.Duration, error) {
	if p.word == "" || p.word == ";" || p.word == "," {
		return 0, p.missing("a duration, such as 30s,")
	}
	d, err := time.ParseDuration(p.word)
	if err != nil || d < 0 {
		return 0, p.wrong("a duration is written like 30s, 250ms or 1m30s, not %q", p.word)
	}
	p.next()
	return d, nil
}

// String is the schedule as Parse reads it.
func (s Schedule) String() string {
	var b strings.Builder
	for i := range s {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(s[i].String())
	}
	return b.String()
}

// String is the phase as Parse reads it.
func (p Phase) String() string {
	rate := func(r float64) string { return strconv.FormatFloat(r, 'f', -1, 64) + "/s" }
	switch {
	case p.Burst > 0 && p.Every > 0:
		return fmt.Sprintf("burst %d every %s for %s", p.Burst, short(p.Every), short(p.Duration))
	case p.Burst > 0 && p.Duration > 0:
		return fmt.Sprintf("burst %d for %s", p.Burst, short(p.Duration))
	case p.Burst > 0:
		return fmt.Sprintf("burst %d", p.Burst)
	case p.Ramp:
		return fmt.Sprintf("ramp %s to %s for %s", rate(p.Rate), rate(p.To), short(p.Duration))
	case p.Rate > 0:
		return fmt.Sprintf("constant %s for %s", rate(p.Rate), short(p.Duration))
	}
	return "pause " + short(p.Duration)
}

// short writes a duration without parts that are zero at its end: 1m, and not 1m0s.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
