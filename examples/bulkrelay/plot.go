package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
)

// plot is a drawing of panels one below the other, over the same seconds, with one legend.
type plot struct {
	Title  string
	Names  []string // of the lines, in all panels
	Panels []panel
}

// panel is one diagram.
type panel struct {
	Label string    // of the vertical axis
	Steps bool      // values hold until the next point
	Lines [][]point // one for each of plot.Names
}

type point struct{ x, y float64 }

// Sizes of the drawing.
const (
	left, width  = 70.0, 820.0
	top, height  = 70.0, 230.0
	gap, row     = 75.0, 20.0
	legendMargin = 20.0
)

// colours can be told apart on white and on black; lines beyond them are dashed.
var colours = [...]string{"#4488dd", "#dd7722", "#339966", "#cc4455", "#8866cc", "#999922", "#cc66aa", "#22a0aa"}

// style can be read on light and on dark; the ground stays transparent.
const style = `<style>
text { font: 13px sans-serif; fill: #777 } .title { font-size: 16px } .grid { stroke: #8888; stroke-width: .5 } .axis { stroke: #888; fill: none }
polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round }
</style>
`

// svg returns the drawing as a file.
func (p *plot) svg() []byte {
	var b bytes.Buffer
	seconds := 0.0
	for _, panel := range p.Panels {
		seconds = max(seconds, limitOf(panel.Lines, func(pt point) float64 { return pt.x }))
	}
	bottom := top + float64(len(p.Panels))*(height+gap)
	full := bottom + legendMargin + row*float64((len(p.Names)+1)/2)
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" role=\"img\">\n<title>%s</title>\n%s", left+width+30, full, escaped(p.Title), style)
	text(&b, left, 28, "start", "title", p.Title)
	for i, panel := range p.Panels {
		panel.draw(&b, top+float64(i)*(height+gap), seconds)
	}
	for i, name := range p.Names {
		x, y := left+float64(i%2)*width/2, bottom+row*float64(i/2)
		fmt.Fprintf(&b, "<polyline points=\"%g,%g %g,%g\" %s/>\n", x, y, x+30, y, stroke(i))
		text(&b, x+38, y+4, "start", "", name)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// draw draws a panel whose upper edge is at y.
func (p *panel) draw(b *bytes.Buffer, y, seconds float64) {
	yStep := niceStep(limitOf(p.Lines, func(pt point) float64 { return pt.y }))
	yMax := yStep * math.Ceil(max(limitOf(p.Lines, func(pt point) float64 { return pt.y }), yStep)/yStep)
	xStep := niceStep(seconds)
	xAt := func(v float64) float64 { return left + v/max(seconds, 0.001)*width }
	yAt := func(v float64) float64 { return y + height - v/yMax*height }
	for v := 0.0; v <= yMax+yStep/2; v += yStep {
		fmt.Fprintf(b, "<path class=\"grid\" d=\"M%g %.1fh%g\"/>\n", left, yAt(v), width)
		text(b, left-8, yAt(v)+4, "end", "", fmt.Sprintf("%g", round(v)))
	}
	for v := 0.0; v <= seconds; v += xStep {
		fmt.Fprintf(b, "<path class=\"grid\" d=\"M%.1f %gv%g\"/>\n", xAt(v), y, height)
		text(b, xAt(v), y+height+18, "middle", "", fmt.Sprintf("%g", round(v)))
	}
	text(b, left+width, y+height+36, "end", "", "seconds")
	text(b, left, y-8, "start", "", p.Label)
	fmt.Fprintf(b, "<path class=\"axis\" d=\"M%g %gv%gh%g\"/>\n", left, y, height, width)
	for i, line := range p.Lines {
		fmt.Fprintf(b, "<polyline %s points=\"", stroke(i))
		for k, pt := range line {
			if p.Steps && k > 0 {
				fmt.Fprintf(b, "%.1f,%.1f ", xAt(pt.x), yAt(line[k-1].y))
			}
			fmt.Fprintf(b, "%.1f,%.1f ", xAt(pt.x), yAt(pt.y))
		}
		b.WriteString("\"/>\n")
	}
}

// limitOf is the largest value of all points.
func limitOf(lines [][]point, of func(point) float64) (limit float64) {
	for _, line := range lines {
		for _, pt := range line {
			limit = max(limit, of(pt))
		}
	}
	return limit
}

// niceStep divides a range into four to ten steps of 1, 2 or 5 times a power of ten.
func niceStep(limit float64) float64 {
	if limit <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(limit/4)))
	for _, m := range [...]float64{5, 2} {
		if limit/(m*power) >= 4 {
			return m * power
		}
	}
	return power
}

// round hides what adding steps leaves behind.
func round(v float64) float64 { return math.Round(v*1e6) / 1e6 }

func stroke(i int) string {
	s := fmt.Sprintf("stroke=\"%s\"", colours[i%len(colours)])
	if dash := i / len(colours); dash > 0 {
		s += fmt.Sprintf(" stroke-dasharray=\"%d 3\"", 3*dash)
	}
	return s
}

func text(b *bytes.Buffer, x, y float64, anchor, class, s string) {
	fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">%s</text>\n", x, y, anchor, class, escaped(s))
}

func escaped(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}
