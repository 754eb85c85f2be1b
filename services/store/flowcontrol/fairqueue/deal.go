package fairqueue

import "slices"

// maxHand is the largest hand that 60 bits of a hash can deal: 15 of 15. The
// kind's rules allow no larger one.
const maxHand = 16

// deal appends to hand which queues a flow has: size different numbers below
// deck, all hands equally likely. The same flow is always dealt the same ones.
func deal(hand []int, flow uint64, deck, size int) []int {
	for i := range min(max(size, 1), deck, maxHand) {
		// What is left of the deck has deck-i cards. The card's number among them
		// becomes its number in the whole deck: those dealt before it are skipped.
		left := uint64(deck - i)
		card := int(flow % left)
		flow /= left
		at := 0
		for at < len(hand) && hand[at] <= card {
			card++
			at++
		}
		hand = slices.Insert(hand, at, card)
	}
	return hand
}
