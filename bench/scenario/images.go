package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sluice/bench"
	"sluice/bench/workload"
)

// How popular images are: Zipf's exponent. With 1, the most popular of a thousand images is asked for by 13 % of all
// containers, and half of all containers have one of the first 30.
const zipf = 1

// known is images that are signed, and a few that are not, as lines of a workload's list. Half of them are named by tag,
// and half by digest. One in 25 is not signed; where the others are asked for as often as Zipf's law has it, about 5 % of
// reviews with 1 to 3 containers hold one of these.
func (st *stage) known(ctx context.Context, n int) ([]string, error) {
	const among, offset = 25, 12
	signed, err := st.registry.do(ctx, order{Fill: n, Folder: "team", Signed: true})
	if err != nil {
		return nil, err
	}
	unsigned, err := st.registry.do(ctx, order{Fill: (n + among - 1) / among, Folder: "unsigned"})
	if err != nil {
		return nil, err
	}
	lines := make([]string, n)
	for i := range lines {
		im, verdict := signed.Images[i], "allow"
		if i%among == offset {
			im, verdict = unsigned.Images[i/among], "deny"
		}
		name := im.byTag()
		if i%2 == 0 {
			name = im.byDigest()
		}
		lines[i] = name + " " + verdict
	}
	return lines, nil
}

// fresh makes signed images that nobody has asked for yet, and returns lines of a workload's list.
func (st *stage) fresh(ctx context.Context, folder string, n int) ([]string, error) {
	made, err := st.registry.do(ctx, order{Fill: n, Folder: folder, Signed: true})
	if err != nil {
		return nil, err
	}
	lines := make([]string, n)
	for i, im := range made.Images {
		lines[i] = im.byTag() + " allow"
	}
	return lines, nil
}

// list is a workload over the lines of a list.
func (st *stage) list(lines []string, o workload.Options) (bench.Workload, error) {
	st.lists++
	o.Seed, o.List = st.Seed, filepath.Join(st.dir, fmt.Sprintf("images-%d.txt", st.lists))
	if err := os.WriteFile(o.List, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return nil, err
	}
	return workload.New(o)
}

// pods is a workload of pods with 1 to 3 containers over the lines of a list, the first ones being the most popular.
func (st *stage) pods(lines []string) (bench.Workload, error) {
	return st.list(lines, workload.Options{Zipf: zipf, Containers: 1, MaxContainers: 3})
}

// inOrder sends one review for each line of a list, and then begins anew.
type inOrder struct {
	reviews []bench.Review
	next    int
}

// each is a workload of one review for each line, in order.
func (st *stage) each(lines []string) (bench.Workload, error) {
	w := &inOrder{}
	for _, line := range lines {
		reference, verdict, _ := strings.Cut(line, " ")
		expect := bench.ExpectAllow
		if verdict == "deny" {
			expect = bench.ExpectDeny
		}
		one, err := workload.New(workload.Options{Allowed: reference})
		if err != nil {
			return nil, err
		}
		review := one.Next()
		review.Deny = expect
		w.reviews = append(w.reviews, review)
	}
	return w, nil
}

func (w *inOrder) Next() bench.Review {
	r := w.reviews[w.next]
	w.next = (w.next + 1) % len(w.reviews)
	return r
}

func (w *inOrder) String() string {
	return fmt.Sprintf("%d images, one after the other", len(w.reviews))
}
