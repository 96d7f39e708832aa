// Opens pages in headless Chromium and walks through them by keyboard: `node tests/pages.mjs PUPPETEER_FOLDER [--shots FOLDER] PAGE.html...`
// Ladders: every step forwards and backwards, the number of the step, and that the lit cell stands in the row of the state and in the column of
// the event that the step's sentence names. Other pages: every item in turn, its sentence, bars as high as their values, cells lit by how often
// they ran. No page may write an error to the console, or ask the network for anything. Prints what is wrong; exit status 1 when something is.
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.resolve(process.argv[2], 'package.json'));
const puppeteer = require('puppeteer-core');
const STEPS_MOST = 60, ITEMS_MOST = 80;
let wrong = 0;

function complain(page, what) {
  console.log(`${page}: ${what}`);
  wrong++;
}

/* ---- In the page ------------------------------------------------------------------------------------------------- */

// What can be seen of a ladder at this moment.
function ladderView() {
  const lit = [...document.querySelectorAll('td.lit')], say = document.getElementById('say');
  const bold = [...say.querySelectorAll('b')].map(b => b.textContent).filter(t => t);
  const event = say.textContent.replace(/^[^,]*, /, '').match(/^[^ :(]+/);
  const heads = lit.map(td => ({
    row: td.parentElement.firstElementChild.textContent,
    column: td.closest('table').tHead.rows[0].cells[td.cellIndex].textContent,
  }));
  return { count: document.getElementById('count').textContent, state: bold[1], event: event && event[0].replace(/:$/, ''), heads,
           now: document.querySelectorAll('.step.now').length, later: document.querySelectorAll('.step.later').length,
           cell: steps[now].cell, litId: lit[0] && lit[0].id };
}

function itemView() {
  const chosen = [...document.querySelectorAll('.item.now')];
  return { chosen: chosen.length, at: [...document.querySelectorAll('.item')].indexOf(chosen[0]),
           wanted: chosen[0] && chosen[0].dataset.say, said: document.getElementById('say').textContent };
}

// Bars of one drawing: height / value is the same for all; null when there are none.
function barRatios() {
  return [...document.querySelectorAll('svg')].map(svg => [...svg.querySelectorAll('rect.item')].filter(r => +r.dataset.value > 0)
    .map(r => ({ height: r.height.baseVal.value, value: +r.dataset.value })).filter(b => b.height > 2));
}

function cellColours() {
  return [...document.querySelectorAll('td.item[data-count]')].map(td => ({ count: +td.dataset.count, colour: td.style.background,
    said: td.querySelector('.ran').textContent }));
}

/* ---- Ladders ----------------------------------------------------------------------------------------------------- */

function judgeStep(name, view, number, total) {
  if (!view.count.startsWith(`${number + 1} `)) complain(name, `step ${number + 1} is announced as "${view.count}"`);
  if (view.now !== 1) complain(name, `step ${number + 1}: ${view.now} steps are highlighted`);
  if (view.later !== total - 1 - number) complain(name, `step ${number + 1}: ${view.later} of ${total} steps are shown as later`);
  if (view.cell && view.litId !== view.cell) complain(name, `step ${number + 1}: ${view.litId} is lit, not ${view.cell}`);
  if (view.cell && view.heads.length !== 1) complain(name, `step ${number + 1}: ${view.heads.length} cells are lit`);
  if (view.cell && (view.heads[0].row !== view.state || view.heads[0].column !== view.event))
    complain(name, `step ${number + 1}: the cell of ${view.heads[0].row} on ${view.heads[0].column} is lit, the sentence says ${view.state} on ${view.event}`);
}

async function walkLadder(page, name) {
  const total = await page.evaluate(() => steps.length), skipped = await page.evaluate(() => skipped);
  const last = Math.min(total - 1, STEPS_MOST);
  if (skipped) return; // numbered from where the recording begins
  await page.keyboard.press('Home');
  for (let s = 0; s <= last; s++) {
    judgeStep(name, await page.evaluate(ladderView), s, total);
    if (s < last) await page.keyboard.press('ArrowRight');
  }
  for (let s = last; s > 0; s--) {
    await page.keyboard.press('ArrowLeft');
    judgeStep(name, await page.evaluate(ladderView), s - 1, total);
  }
  await page.keyboard.press('ArrowLeft');
  judgeStep(name, await page.evaluate(ladderView), 0, total);
  await page.keyboard.press('End');
  judgeStep(name, await page.evaluate(ladderView), total - 1, total);
}

/* ---- Pages of items ---------------------------------------------------------------------------------------------- */

function judgeItem(name, view, number) {
  if (view.chosen !== 1 || view.at !== number) complain(name, `item ${number + 1}: ${view.chosen} are chosen, the first is number ${view.at + 1}`);
  if (!view.wanted || view.said !== view.wanted) complain(name, `item ${number + 1}: "${view.said}" is said, not "${view.wanted}"`);
}

async function judgeDrawings(page, name) {
  for (const bars of await page.evaluate(barRatios)) {
    const ratios = bars.map(b => b.height / b.value), most = Math.max(...ratios), least = Math.min(...ratios);
    if (bars.length && most > least * 1.05 + 1e-9) complain(name, `bars are not as high as their values: ${least} to ${most} pixels a unit`);
  }
  const cells = await page.evaluate(cellColours);
  for (const cell of cells) {
    const red = cell.colour.replace(/ /g, '').includes('243,214,211');
    if (red !== (cell.count === 0)) complain(name, `a cell that ran ${cell.count} times has the colour ${cell.colour}`);
    if (cell.said !== (cell.count ? String(cell.count) : 'never')) complain(name, `a cell that ran ${cell.count} times says "${cell.said}"`);
  }
  if (cells.length && !cells.some(c => c.count)) complain(name, 'no cell ran');
}

async function walkItems(page, name) {
  const total = await page.evaluate(() => document.querySelectorAll('.item').length), last = Math.min(total - 1, ITEMS_MOST);
  if (!total) return complain(name, 'there is nothing to step through');
  for (let i = 0; i <= last; i++) {
    judgeItem(name, await page.evaluate(itemView), i);
    if (i < last) await page.keyboard.press('ArrowRight');
  }
  for (let i = last; i > 0; i--) {
    await page.keyboard.press('ArrowLeft');
    judgeItem(name, await page.evaluate(itemView), i - 1);
  }
  await page.keyboard.press('End');
  judgeItem(name, await page.evaluate(itemView), total - 1);
  await page.keyboard.press('Home');
  judgeItem(name, await page.evaluate(itemView), 0);
  await judgeDrawings(page, name);
}

/* ---- All pages --------------------------------------------------------------------------------------------------- */

async function judge(browser, file, shots) {
  const page = await browser.newPage(), name = path.basename(file);
  await page.setViewport({ width: 1366, height: 850 });
  page.on('console', message => ['error', 'warning'].includes(message.type()) && complain(name, `console: ${message.text()}`));
  page.on('pageerror', error => complain(name, `script: ${error.message}`));
  page.on('request', request => /^(file|data):/.test(request.url()) || complain(name, `asks the network for ${request.url()}`));
  await page.goto(`file://${path.resolve(file)}`);
  const ladder = await page.evaluate(() => typeof steps !== 'undefined');
  if (shots) await page.screenshot({ path: path.join(shots, `${path.basename(path.dirname(file))}-${name}.png`) });
  await (ladder ? walkLadder : walkItems)(page, name);
  await page.close();
}

const flags = process.argv.slice(3), shots = flags[0] === '--shots' ? flags[1] : null, files = shots ? flags.slice(2) : flags;
const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
for (const file of files) await judge(browser, file, shots);
await browser.close();
console.log(`${files.length} pages, ${wrong} mistakes`);
process.exit(wrong ? 1 : 0);
