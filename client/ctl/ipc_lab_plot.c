/* ipc_lab_plot.c - p50 over payload, both logarithmic: characters, or SVG. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "client/ctl/ipc_lab.h"
#include "client/ctl/units.h"

#define COLUMNS 64
#define ROWS    18

/* The least and the most of both axes, as logarithms. */
struct frame {
	double x0, x1, y0, y1;
};

static struct frame
frame_of(const struct lab *lab)
{
	struct frame f = { .x0 = log((double)lab->sizes[0]),
			   .x1 = log((double)lab->sizes[lab->size_count - 1]),
			   .y0 = INFINITY,
			   .y1 = -INFINITY };

	for (unsigned way = 0; way < LAB_WAYS; way++) {
		for (unsigned i = 0; i < lab->size_count; i++) {
			const struct lab_cell *cell = &lab->cells[way][i];
			if (!cell->done || cell->p50_ns <= 0)
				continue;
			f.y0 = fmin(f.y0, log(cell->p50_ns));
			f.y1 = fmax(f.y1, log(cell->p50_ns));
		}
	}
	if (f.x1 <= f.x0)
		f.x1 = f.x0 + 1;
	if (!(f.y1 > f.y0))
		f.y1 = (f.y0 = isfinite(f.y0) ? f.y0 : 0) + 1;
	return f;
}

static double
x_of(const struct frame *f, uint64_t bytes)
{
	return (log((double)bytes) - f->x0) / (f->x1 - f->x0);
}

static double
y_of(const struct frame *f, double ns)
{
	return (log(ns) - f->y0) / (f->y1 - f->y0);
}

/* ---- characters ---- */

/* Straight lines between the points, so that a curve can be followed; points over lines. */
static void
draw(const struct lab *lab, const struct frame *f, unsigned way, bool points,
     char canvas[ROWS][COLUMNS + 1])
{
	for (unsigned i = 0; i < lab->size_count; i++) {
		const struct lab_cell *cell = &lab->cells[way][i];
		const struct lab_cell *next = i + 1 < lab->size_count ? cell + 1 : NULL;
		if (!cell->done)
			continue;
		double x = x_of(f, lab->sizes[i]), y = y_of(f, cell->p50_ns);
		if (points) {
			canvas[(int)lround(y * (ROWS - 1))][(int)lround(x * (COLUMNS - 1))] =
				lab_ways[way].mark;
			continue;
		}
		if (next == NULL || !next->done || next->by_name != cell->by_name)
			continue;
		double x2 = x_of(f, lab->sizes[i + 1]), y2 = y_of(f, next->p50_ns);
		for (int step = 1; step < COLUMNS; step++) {
			double t = (double)step / COLUMNS;
			int row = (int)lround((y + (y2 - y) * t) * (ROWS - 1));
			int column = (int)lround((x + (x2 - x) * t) * (COLUMNS - 1));
			if (canvas[row][column] == ' ')
				canvas[row][column] = '.';
		}
	}
}

void
lab_plot(const struct lab *lab, FILE *out)
{
	struct frame f = frame_of(lab);
	char canvas[ROWS][COLUMNS + 1], low[32], high[32];

	for (int row = 0; row < ROWS; row++) {
		memset(canvas[row], ' ', COLUMNS);
		canvas[row][COLUMNS] = '\0';
	}
	for (unsigned way = 0; way < LAB_WAYS; way++)
		draw(lab, &f, way, false, canvas);
	for (unsigned way = LAB_WAYS; way-- > 0;)
		draw(lab, &f, way, true, canvas);
	fprintf(out, "p50 of one message there and back, over its payload; both logarithmic\n");
	for (int row = ROWS - 1; row >= 0; row--) {
		double ns = exp(f.y0 + (f.y1 - f.y0) * row / (ROWS - 1));
		bool labelled = row % 4 == 0 || row == ROWS - 1;
		fprintf(out, "%10s |%s\n", labelled ? unit_time_human((uint64_t)ns).text : "",
			canvas[row]);
	}
	lab_bytes((double)lab->sizes[0], low, sizeof low);
	lab_bytes((double)lab->sizes[lab->size_count - 1], high, sizeof high);
	fprintf(out, "%10s +", "");
	for (int i = 0; i < COLUMNS; i++)
		fputc('-', out);
	fprintf(out, "\n%12s%-*s%s\n%12s", "", (int)(COLUMNS - strlen(high)), low, high, "");
	for (unsigned way = 0; way < LAB_WAYS; way++)
		fprintf(out, "%c %s%s", lab_ways[way].mark, lab_ways[way].name,
			way + 1 < LAB_WAYS ? ", " : "\n");
}

/* ---- SVG ---- */

#define WIDTH  860
#define HEIGHT 520
#define LEFT   90
#define RIGHT  150
#define TOP    50
#define BOTTOM 60

static double
px(double x)
{
	return LEFT + x * (WIDTH - LEFT - RIGHT);
}

static double
py(double y)
{
	return HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM);
}

static void
svg_axes(const struct lab *lab, const struct frame *f, FILE *out)
{
	char text[32];

	for (unsigned i = 0; i < lab->size_count; i++) {
		double x = px(x_of(f, lab->sizes[i]));
		fprintf(out,
			"<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" stroke=\"#ddd\"/>"
			"<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n",
			x, TOP, x, HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 18,
			lab_bytes((double)lab->sizes[i], text, sizeof text));
	}
	for (double ns = pow(10, ceil(f->y0 / log(10))); log(ns) <= f->y1; ns *= 10) {
		double y = py(y_of(f, ns));
		fprintf(out,
			"<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"#ddd\"/>"
			"<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
			LEFT, y, WIDTH - RIGHT, y, LEFT - 8, y + 4,
			unit_time_human((uint64_t)ns).text);
	}
}

static void
svg_curve(const struct lab *lab, const struct frame *f, unsigned way, FILE *out)
{
	const struct lab_cell *cells = lab->cells[way];
	bool open = false;

	for (unsigned i = 0; i < lab->size_count; i++) {
		if (!cells[i].done)
			continue;
		if (open && cells[i].by_name != cells[i - 1].by_name) {
			fprintf(out, "\"/>\n");
			open = false;
		}
		if (!open)
			fprintf(out,
				"<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\"%s "
				"points=\"",
				lab_ways[way].colour,
				cells[i].by_name ? " stroke-dasharray=\"6 4\"" : "");
		open = true;
		fprintf(out, "%.1f,%.1f ", px(x_of(f, lab->sizes[i])),
			py(y_of(f, cells[i].p50_ns)));
	}
	if (open)
		fprintf(out, "\"/>\n");
	int y = TOP + 20 + (int)way * 22;
	fprintf(out,
		"<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" stroke=\"%s\" stroke-width=\"2\"/>"
		"<text x=\"%d\" y=\"%d\">%s</text>\n",
		WIDTH - RIGHT + 12, y, WIDTH - RIGHT + 36, y, lab_ways[way].colour,
		WIDTH - RIGHT + 42, y + 4, lab_ways[way].name);
}

int
lab_svg(const struct lab *lab, const char *path)
{
	struct frame f = frame_of(lab);
	FILE *out = fopen(path, "we");

	if (out == NULL)
		return -errno;
	fprintf(out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
		"font-family=\"sans-serif\" font-size=\"12\">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
		"<text x=\"%d\" y=\"24\" font-size=\"15\">p50 of one message there and back; "
		"dashed: "
		"payload in a shared array</text>\n",
		WIDTH, HEIGHT, LEFT);
	svg_axes(lab, &f, out);
	for (unsigned way = 0; way < LAB_WAYS; way++)
		svg_curve(lab, &f, way, out);
	fprintf(out, "</svg>\n");
	bool bad = ferror(out) != 0;
	return fclose(out) != 0 || bad ? -EIO : 0;
}
