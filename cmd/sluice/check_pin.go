package main

import (
	"context"
	"fmt"
	"strings"

	"sluice/engine"
)

// changedImage is what the mutating webhook makes of an image where a policy says so, and what the validating one then says.
type changedImage struct {
	Image      string `json:"image,omitempty"`  // with its digest; empty if it stays as it is
	Reason     string `json:"reason,omitempty"` // why it stays, although a policy pins
	AlwaysPull bool   `json:"alwaysPull,omitempty"`

	Verdict *checkedImage `json:"verdict,omitempty"` // on Image
}

// addChanges tells of each image that was judged what the mutating webhook makes of it. What could not be asked for, or is
// not there, is not asked for again.
func (a *checkAnswer) addChanges(ctx context.Context, e *engine.Engine, req *engine.Request, judged *engine.Result) {
	pin := engine.Request{Namespace: req.Namespace, Pin: true}
	for _, v := range judged.Images() {
		if !v.Reason.Transient() && v.Reason != engine.ReasonImageNotFound {
			pin.Images = append(pin.Images, v.Image)
		}
	}
	if len(pin.Images) == 0 {
		return
	}
	var changes, after engine.Result
	e.Decide(ctx, &pin, &changes)
	again := engine.Request{Namespace: req.Namespace}
	for _, v := range changes.Images() {
		if v.Rewrite != "" {
			again.Images = append(again.Images, v.Rewrite)
		}
	}
	if len(again.Images) > 0 {
		e.Decide(ctx, &again, &after)
	}
	for i := range a.Images {
		v := changes.Find(a.Images[i].Image)
		if v == nil {
			continue
		}
		changed := changedImage{Image: v.Rewrite, AlwaysPull: v.AlwaysPull}
		if then := after.Find(v.Rewrite); v.Rewrite != "" && then != nil {
			verdict := newCheckedImage(then)
			changed.Verdict = &verdict
		}
		switch v.Reason {
		case engine.ReasonPinned, engine.ReasonNotPinned, engine.ReasonNoMatch, engine.ReasonInvalidReference:
		default:
			if reason := v.Reason.String(); reason != a.Images[i].Reason { // which has been said
				changed.Reason = reason
			}
		}
		if changed != (changedImage{}) {
			a.Images[i].Webhook = &changed
		}
	}
}

// print writes it below the image that it is about, for people.
func (c *changedImage) print(b *strings.Builder, written string) {
	if c.Reason != "" {
		fmt.Fprintf(b, "      not pinned by webhook: %s\n", c.Reason)
	}
	if c.Image != "" {
		fmt.Fprintf(b, "      pinned by webhook: %s", c.Image)
		if c.Verdict != nil && c.Verdict.Verdict != written {
			fmt.Fprintf(b, " (%s: %s)", c.Verdict.Verdict, c.Verdict.Reason)
		}
		b.WriteByte('\n')
	}
	if c.AlwaysPull {
		b.WriteString("      imagePullPolicy by webhook: Always\n")
	}
}
