package expression

import (
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

func textOf(v ref.Val) string {
	s, _ := v.(types.String)
	return string(s)
}

// length is how many bytes a text has; 0 for what is none.
func length(v ref.Val) uint64 {
	switch v := v.(type) {
	case types.String:
		return uint64(len(v))
	case types.Bytes:
		return uint64(len(v))
	}
	return 0
}

// texts is the cost of reading the texts among values.
func texts(values []ref.Val) uint64 {
	n := uint64(0)
	for _, v := range values {
		n += length(v)
	}
	return n / textUnit
}

// elements is how many elements the lists and maps among values have.
func elements(values []ref.Val) uint64 {
	n := uint64(0)
	for _, v := range values {
		switch v := v.(type) {
		case traits.Lister:
			n += sizeOf(v)
		case traits.Mapper:
			n += sizeOf(v)
		}
	}
	return n
}

func sizeOf(v traits.Sizer) uint64 {
	n, _ := v.Size().(types.Int)
	return uint64(max(n, 0))
}

// weigh is how many parts a value has, over all depths, long texts counting as several.
func weigh(v ref.Val) uint64 {
	switch v := v.(type) {
	case types.String, types.Bytes:
		return 1 + length(v)/textUnit
	case traits.Lister:
		n := uint64(1)
		for it := v.Iterator(); it.HasNext() == types.True; {
			n += weigh(it.Next())
		}
		return n
	case traits.Mapper:
		n := uint64(1)
		for it := v.Iterator(); it.HasNext() == types.True; {
			member, _ := v.Find(it.Next())
			n += weigh(member)
		}
		return n
	}
	return 1
}

// compare tells whether two values are equal, and what it costs to find out.
func compare(a, b ref.Val) (cost uint64, equal bool) {
	switch a := a.(type) {
	case types.String:
		b, ok := b.(types.String)
		return uint64(min(len(a), len(b)) / textUnit), ok && a == b
	case traits.Lister:
		b, ok := b.(traits.Lister)
		if !ok || sizeOf(a) != sizeOf(b) {
			return 0, false
		}
		for x, y := a.Iterator(), b.Iterator(); x.HasNext() == types.True && y.HasNext() == types.True; {
			n, equal := compare(x.Next(), y.Next())
			if cost += 1 + n; !equal {
				return cost, false
			}
		}
		return cost, true
	case traits.Mapper:
		b, ok := b.(traits.Mapper)
		if !ok || sizeOf(a) != sizeOf(b) {
			return 0, false
		}
		for it := a.Iterator(); it.HasNext() == types.True; {
			name := it.Next()
			x, _ := a.Find(name)
			y, found := b.Find(name)
			if !found {
				return cost + 1, false
			}
			n, equal := compare(x, y)
			if cost += 4 + n; !equal {
				return cost, false
			}
		}
		return cost, true
	}
	return 0, a.Equal(b) == types.True
}

// search is the cost of looking for a value in a list.
func search(list traits.Lister, v ref.Val) (cost uint64) {
	for it := list.Iterator(); it.HasNext() == types.True; {
		n, equal := compare(it.Next(), v)
		if cost += 1 + n; equal {
			break
		}
	}
	return cost
}
