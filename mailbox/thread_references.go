package mailbox

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// threader is RFC 5256 §3 "REFERENCES". Nodes are named by their index; parents and children are links
// between them, and every walk is a loop.
type threader struct {
	nodes []threadNode
	byID  map[string]int
	roots []int
	steps int // left for isAncestor
}

type threadNode struct {
	threadMessage // uid 0: a dummy
	parent        int
	children      []int
}

const noNode = -1

// threadSteps bounds the search for loops: who sends thousands of references in one message makes
// chains that each look would climb. Beyond it no further links are made.
const threadSteps = 20_000_000

func newThreader(messages []threadMessage) *threader {
	t := &threader{byID: make(map[string]int, len(messages)), steps: threadSteps}
	for i, m := range messages {
		if _, twice := t.byID[m.id]; m.id == "" || twice {
			// No id, or one that another message has: it gets one of its own that nothing refers to.
			m.id = fmt.Sprintf("\x00%d", i)
		}
		t.byID[m.id] = len(t.nodes)
		t.nodes = append(t.nodes, threadNode{threadMessage: m, parent: noNode})
	}
	return t
}

// references does the steps of the RFC.
func (t *threader) references() []ThreadNode {
	t.link()
	t.prune()
	t.sortRoots()
	t.mergeSubjects()
	return t.list()
}

// link is step 1: the references of each message make it a chain of parents and children.
func (t *threader) link() {
	for i, n := 0, len(t.nodes); i < n; i++ {
		parent := noNode
		for _, ref := range t.nodes[i].refs {
			next := t.node(ref)
			// (A) Links that are there stay, and none may make a loop.
			if parent != noNode && t.nodes[next].parent == noNode && !t.isAncestor(next, parent) {
				t.nodes[next].parent = parent
			}
			parent = next
		}
		// (B) The last reference is the parent, whatever others' references said of this message; it
		// has none where there is no reference, or the link would be a loop.
		t.nodes[i].parent = noNode
		if parent != noNode && !t.isAncestor(i, parent) {
			t.nodes[i].parent = parent
		}
	}
	for i := range t.nodes {
		if p := t.nodes[i].parent; p != noNode {
			t.nodes[p].children = append(t.nodes[p].children, i)
		}
	}
}

// node returns the node of a message id, a dummy when there is no such message.
func (t *threader) node(id string) int {
	if i, ok := t.byID[id]; ok {
		return i
	}
	t.byID[id] = len(t.nodes)
	t.nodes = append(t.nodes, threadNode{threadMessage: threadMessage{id: id}, parent: noNode})
	return len(t.nodes) - 1
}

// isAncestor reports whether a is b or above it: a link from a to b would be a loop.
func (t *threader) isAncestor(a, b int) bool {
	for ; b != noNode; b = t.nodes[b].parent {
		if t.steps--; a == b || t.steps < 0 {
			return true
		}
	}
	return false
}

// prune is steps 2 and 3: dummies without children go; those with children leave them to their
// parent, or at the root when there is one child only.
func (t *threader) prune() {
	for i := range t.nodes {
		if t.nodes[i].parent == noNode {
			t.roots = append(t.roots, i)
		}
	}
	for _, i := range t.postOrder() {
		t.nodes[i].children = t.promote(t.nodes[i].children, false)
	}
	t.roots = t.promote(t.roots, true)
}

// promote puts the children of dummies in their place.
func (t *threader) promote(list []int, root bool) []int {
	var out []int
	for _, i := range list {
		n := &t.nodes[i]
		switch {
		case n.uid != 0:
			out = append(out, i)
		case root && len(n.children) > 1:
			out = append(out, i)
		default:
			out = append(out, n.children...)
		}
	}
	return out
}

// postOrder lists all nodes, children before their parents.
func (t *threader) postOrder() []int {
	stack, out := slices.Clone(t.roots), make([]int, 0, len(t.nodes))
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		out = append(out, i)
		stack = append(stack, t.nodes[i].children...)
	}
	slices.Reverse(out)
	return out
}

// sent is the date that a node is sorted by: a dummy has its first child's. Below the root there are
// no dummies any more, and merged dummies have no dummies as children.
func (t *threader) sent(i int) (time.Time, UID) {
	n := &t.nodes[i]
	if n.uid == 0 && len(n.children) > 0 {
		n = &t.nodes[n.children[0]]
	}
	return n.sent, n.uid
}

func (t *threader) sortByDate(list []int) {
	slices.SortStableFunc(list, func(a, b int) int {
		at, au := t.sent(a)
		bt, bu := t.sent(b)
		return cmp.Or(at.Compare(bt), cmp.Compare(au, bu))
	})
}

// sortRoots is step 4.
func (t *threader) sortRoots() {
	for _, i := range t.roots {
		if t.nodes[i].uid == 0 {
			t.sortByDate(t.nodes[i].children)
		}
	}
	t.sortByDate(t.roots)
}

// subject is the base subject of a thread: a dummy has its first child's.
func (t *threader) subject(i int) (subject string, reply bool) {
	n := &t.nodes[i]
	if n.uid == 0 && len(n.children) > 0 {
		n = &t.nodes[n.children[0]]
	}
	return n.subject, n.reply
}

// mergeSubjects is step 5: threads with the same subject become one.
func (t *threader) mergeSubjects() {
	table := t.subjectTable()
	merged := make(map[int]bool)
	places := make(map[int]int, len(t.roots)) // of the roots: new dummies take those of others
	for place, i := range t.roots {
		places[i] = place
	}
	for _, i := range slices.Clone(t.roots) {
		subject, reply := t.subject(i)
		other, ok := table[subject]
		if subject == "" || !ok || other == i {
			continue
		}
		_, otherReply := t.subject(other)
		n, o := &t.nodes[i], &t.nodes[other]
		switch {
		case n.uid == 0 && o.uid == 0:
			o.children = append(o.children, n.children...)
		case o.uid == 0, reply && !otherReply:
			o.children = append(o.children, i)
		default:
			// Both are replies, or neither is: siblings below a new dummy.
			dummy := len(t.nodes)
			t.nodes = append(t.nodes, threadNode{parent: noNode, children: []int{other, i}})
			t.roots[places[other]] = dummy
			places[dummy] = places[other]
			table[subject] = dummy
		}
		merged[i] = true
	}
	t.roots = slices.DeleteFunc(t.roots, func(i int) bool { return merged[i] })
}

// subjectTable is step 5 (A) and (B): for each subject the thread that others join.
func (t *threader) subjectTable() map[string]int {
	table := make(map[string]int)
	for _, i := range t.roots {
		subject, reply := t.subject(i)
		if subject == "" {
			continue
		}
		other, ok := table[subject]
		if !ok {
			table[subject] = i
			continue
		}
		_, otherReply := t.subject(other)
		isDummy, otherDummy := t.nodes[i].uid == 0, t.nodes[other].uid == 0
		if isDummy && !otherDummy || otherReply && !reply && !otherDummy {
			table[subject] = i
		}
	}
	return table
}

// list is step 6: siblings by date, everything in pre-order.
func (t *threader) list() []ThreadNode {
	for i := range t.nodes { // dummies compare by their first child: children first
		t.sortByDate(t.nodes[i].children)
	}
	t.sortByDate(t.roots)
	type item struct{ node, depth int }
	var stack []item
	push := func(list []int, depth int) {
		for _, i := range slices.Backward(list) {
			stack = append(stack, item{i, depth})
		}
	}
	push(t.roots, 0)
	var out []ThreadNode
	for len(stack) > 0 {
		top := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		out = append(out, ThreadNode{t.nodes[top.node].uid, top.depth})
		push(t.nodes[top.node].children, top.depth+1)
	}
	return out
}
